"""Prints keyring-v1.golden, from the formats in keyfile.go and ciphertext.go
alone. Needs Python 3 and the package cryptography."""

import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

root = bytes(range(32))
nonce = bytes(range(0xA0, 0xAC))
name = b"window-2018-10-29"
context = b"household-1"
secret = b"thirty-two bytes of a window key"

head = b"WVKR" + bytes([1, len(name)]) + name + root
keyfile = head + hashlib.sha256(head).digest()

info = b"wattveil/keyring/v1\x00" + bytes([len(name)]) + name + struct.pack(">I", len(context)) + context
extracted = hmac.digest(bytes(32), root, "sha256")  # RFC 5869, 2.2: no salt is 32 zeros
key = hmac.digest(extracted, info + b"\x01", "sha256")  # 2.3: one block of output
ciphertext = b"\x01" + nonce + AESGCM(key).encrypt(nonce, secret, b"\x01")

print("# A key file and a ciphertext of a local keyring, version 1; values in hex.")
for label in ("root", "nonce", "name", "context", "secret", "keyfile", "ciphertext"):
    print(label, globals()[label].hex())
