#!/usr/bin/env python3
"""Cuts Project Wycheproof's files of vectors to what the tests read.

usage: cut.py DIRECTORY_OF_TESTVECTORS_V1

Of each group it keeps the public key (SubjectPublicKeyInfo, DER), where there is one, of each test its number, comment, result and
what goes in and comes out. Nothing is left out by content, but for the groups of AES with keys of other than 256 bits.
"""

import json
import pathlib
import sys

# A field here, and what it is called there.
SIGNATURE = {"msg": "msg", "sig": "sig"}
CIPHER = {"key": "key", "iv": "iv", "msg": "msg", "ct": "ct"}
DERIVATION = {"password": "password", "salt": "salt", "iterations": "iterationCount", "dk": "dk"}

FILES = [
    "aes_cbc_pkcs5_test.json",
    "ecdsa_secp256r1_sha256_p1363_test.json",
    "ecdsa_secp256r1_sha256_test.json",
    "ecdsa_secp384r1_sha256_test.json",
    "ecdsa_secp384r1_sha384_p1363_test.json",
    "ecdsa_secp384r1_sha384_test.json",
    "ed25519_test.json",
    "pbkdf2_hmacsha256_test.json",
    "pbkdf2_hmacsha384_test.json",
    "pbkdf2_hmacsha512_test.json",
    "rsa_pss_2048_sha256_mgf1_0_test.json",
    "rsa_pss_2048_sha256_mgf1_32_test.json",
    "rsa_pss_2048_sha384_mgf1_48_test.json",
    "rsa_pss_4096_sha512_mgf1_64_test.json",
    "rsa_signature_2048_sha256_test.json",
    "rsa_signature_2048_sha384_test.json",
    "rsa_signature_2048_sha512_test.json",
    "rsa_signature_3072_sha384_test.json",
    "rsa_signature_4096_sha512_test.json",
]

source = pathlib.Path(sys.argv[1])
target = pathlib.Path(__file__).parent
for name in FILES:
    whole = json.loads((source / name).read_text())
    groups = []
    fields = CIPHER if name.startswith("aes") else DERIVATION if name.startswith("pbkdf2") else SIGNATURE
    for group in whole["testGroups"]:
        if fields is CIPHER and group["keySize"] != 256:
            continue
        tests = [
            {"id": test["tcId"], "comment": test["comment"]} | {ours: test[theirs] for ours, theirs in fields.items()} | {"result": test["result"]}
            for test in group["tests"]
        ]
        lines = ",\n".join(json.dumps(test, separators=(",", ":")) for test in tests)
        key = '"key":"' + group["publicKeyDer"] + '",' if "publicKeyDer" in group else ""
        groups.append("{" + key + '"tests":[\n' + lines + "\n]}")
    (target / name).write_text("[\n" + ",\n".join(groups) + "\n]\n")
