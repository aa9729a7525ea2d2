"""Writes the requests of Istio's clients into a directory: the bytes, and beside them what they say. Run once; the result is committed.

usage: make_requests.py DIRECTORY

The fields and the metadata are those that the clients send:
  istio-agent (today)   24 h, CertSigner always and empty, RSA 2048, one URI SAN, critical, an empty organisation in the subject
  istio-agent (1.1)     24 h, the unused subject_id, no metadata
  ztunnel               24 h, ImpersonatedIdentity with the identity of the CSR, ECDSA P-256, one URI SAN, no subject
  node_agent (1.1)      HandleCSR with minutes, "onprem" and the old certificate as a credential that nobody reads
"""

import os
import subprocess
import sys
import tempfile

from google.protobuf import text_format

from messages import CREATE_CERTIFICATE, HANDLE_CSR, CertificateRequest, CsrRequest, set_metadata

IDENTITY = "spiffe://cluster.local/ns/default/sa/httpbin"
DAY_SECONDS = 24 * 60 * 60


EMPTY_ORGANISATION = bytes.fromhex("300b31093007060355040a1300")


def read_element(der):
    """The first element of DER, its content, and the rest."""
    length, start = der[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[2:start], "big")
    end = start + length
    return der[:end], der[start:end], der[end:]


def element(tag, *parts):
    content = b"".join(parts)
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8 or 1, "big")
    length = size if len(content) <= 0x7F else bytes([0x80 | len(size)]) + size
    return bytes([tag]) + length + content


def with_empty_organisation(request, key):
    """The request with an organisation of no letters as its subject, as Go encodes it and OpenSSL's command will not, signed anew."""
    info, _, rest = read_element(read_element(request)[1])
    algorithm = read_element(rest)[0]
    version, _, rest = read_element(read_element(info)[1])
    info = element(0x30, version, EMPTY_ORGANISATION, read_element(rest)[2])
    sign = ["openssl", "dgst", "-sha256", "-sign", key]
    signature = subprocess.run(sign, input=info, check=True, capture_output=True).stdout
    return element(0x30, info, algorithm, element(0x03, b"\0", signature))


def csr(key_arguments, subject="/"):
    with tempfile.TemporaryDirectory() as home:
        key = os.path.join(home, "key.pem")
        subprocess.run(["openssl", "genpkey", *key_arguments, "-out", key], check=True, stderr=subprocess.DEVNULL)
        san = "subjectAltName=critical,URI:" + IDENTITY
        command = ["openssl", "req", "-new", "-sha256", "-key", key, "-subj", subject or "/", "-addext", san, "-outform", "DER"]
        request = subprocess.run(command, check=True, capture_output=True).stdout
        if subject is None:
            request = with_empty_organisation(request, key)
        to_pem = ["openssl", "req", "-inform", "DER", "-verify"]
        return subprocess.run(to_pem, input=request, check=True, capture_output=True).stdout


RSA = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
P256 = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]


def requests():
    agent = CertificateRequest(csr=csr(RSA, None).decode(), validity_duration=DAY_SECONDS)
    set_metadata(agent, {"CertSigner": ""})
    yield "istio-agent", CREATE_CERTIFICATE, agent

    old = CertificateRequest(csr=csr(RSA, None).decode(), subject_id=IDENTITY, validity_duration=DAY_SECONDS)
    yield "istio-agent-1.1", CREATE_CERTIFICATE, old

    ztunnel = CertificateRequest(csr=csr(P256).decode(), validity_duration=DAY_SECONDS)
    set_metadata(ztunnel, {"ImpersonatedIdentity": IDENTITY})
    yield "ztunnel", CREATE_CERTIFICATE, ztunnel

    plain = CertificateRequest(csr=ztunnel.csr, validity_duration=DAY_SECONDS)
    yield "ztunnel-without-impersonation", CREATE_CERTIFICATE, plain

    credential = b"-----BEGIN CERTIFICATE-----\nnobody reads this\n-----END CERTIFICATE-----\n"
    node_agent = CsrRequest(
        csr_pem=csr(RSA, "/O=Example"), node_agent_credential=credential, credential_type="onprem", requested_ttl_minutes=60
    )
    yield "node-agent-1.1", HANDLE_CSR, node_agent


def main():
    directory = sys.argv[1]
    for name, method, request in requests():
        with open(os.path.join(directory, name + ".bin"), "wb") as file:
            file.write(request.SerializeToString(deterministic=True))
        with open(os.path.join(directory, name + ".txt"), "w", encoding="utf-8") as file:
            file.write("# " + method + "\n")
            file.write("# sent with: authorization: Bearer <token>; clusterid: Kubernetes\n")
            file.write(text_format.MessageToString(request))


main()
