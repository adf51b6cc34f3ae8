# One server that keeps its keys in files. For more than a trial see Vault's own manual on
# storage, seals and backups.
storage "file" {
  path = "/vault/file"
}
listener "tcp" {
  address         = "0.0.0.0:8200"
  tls_cert_file   = "/etc/wattveil/hub.pem"
  tls_key_file    = "/etc/wattveil/hub.key"
  tls_min_version = "tls13"
}
api_addr = "https://vault:8200"
