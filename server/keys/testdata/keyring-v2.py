"""Prints keyring-v2.golden, from the formats in keyfile.go and ciphertext.go
alone. Needs Python 3 and the package cryptography."""

import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

root1 = bytes(range(32))
root2 = bytes(range(0x40, 0x60))
nonce = bytes(range(0xA0, 0xAC))
name = b"window-2018-10-29"
context = b"household-1"
secret = b"thirty-two bytes of a window key"


def file(oldest, *roots):
    head = b"WVKR" + bytes([2, len(name)]) + name + struct.pack(">QH", oldest, len(roots)) + b"".join(roots)
    return head + hashlib.sha256(head).digest()


created = file(1, root1)
rotated = file(1, root1, root2)
retired = file(2, root2)

info = b"wattveil/keyring/v2\x00" + bytes([len(name)]) + name + struct.pack(">I", len(context)) + context
extracted = hmac.digest(bytes(32), root2, "sha256")  # RFC 5869, 2.2: no salt is 32 zeros
key = hmac.digest(extracted, info + b"\x01", "sha256")  # 2.3: one block of output
head = b"\x02" + struct.pack(">Q", 2)
ciphertext = head + nonce + AESGCM(key).encrypt(nonce, secret, head)

print("# Key files and a ciphertext of a local keyring, version 2: a key is created, rotated,")
print("# used and rid of its first version; values in hex.")
for label in ("root1", "root2", "nonce", "name", "context", "secret", "created", "rotated", "retired", "ciphertext"):
    print(label, globals()[label].hex())
