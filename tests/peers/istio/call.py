"""Calls CreateCertificate as Istio's Go clients do, over grpcio: prints {"cert_chain"} or {"code", "details"}.

usage: call.py ADDRESS ROOTS_PEM CSR_PEM < TOKEN

The server must prove the host of ADDRESS, a DNS name or an IP address, by a certificate under the roots.
"""

import json
import sys

import grpc

from messages import CREATE_CERTIFICATE, CertificateRequest, CertificateResponse, set_metadata


def main():
    address, roots, csr = sys.argv[1:]
    token = sys.stdin.read().strip()
    with open(roots, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    with open(csr, encoding="ascii") as file:
        request = CertificateRequest(csr=file.read(), validity_duration=3600)
    set_metadata(request, {"CertSigner": ""})
    with grpc.secure_channel(address, credentials) as channel:
        call = channel.unary_unary(
            CREATE_CERTIFICATE,
            request_serializer=CertificateRequest.SerializeToString,
            response_deserializer=CertificateResponse.FromString,
        )
        metadata = [("authorization", "Bearer " + token), ("clusterid", "Kubernetes")]
        try:
            answer = call(request, metadata=metadata, timeout=20)
            print(json.dumps({"cert_chain": list(answer.cert_chain)}))
        except grpc.RpcError as error:
            print(json.dumps({"code": error.code().name, "details": error.details()}))


main()
