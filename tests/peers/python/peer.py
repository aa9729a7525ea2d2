"""The suite's client over the packages `spiffe` and `spiffe-tls`; ../README.md tells its verbs."""

import json
import socket
import sys
import threading

from OpenSSL import SSL
from spiffe import JwtSvid, SpiffeId, TrustDomain, WorkloadApiClient, X509Source
from spiffetls.context import create_ssl_context
from spiffetls.dial import dial as tls_dial
from spiffetls.tlsconfig.authorize import authorize_id, authorize_one_of
from cryptography import x509

DEADLINE = 30.0
RETRY = 0.2


def say(line):
    print(json.dumps(line), flush=True)


def describe(context):
    svids = [
        {"id": str(svid.spiffe_id), "serial": format(svid.leaf.serial_number, "x"), "hint": getattr(svid, "hint", "")}
        for svid in context.x509_svids
    ]
    bundles = {bundle.trust_domain.name: len(bundle.x509_authorities) for bundle in context.x509_bundle_set.bundles}
    return {"svids": svids, "bundles": bundles}


def fetch_x509():
    with WorkloadApiClient() as client:
        say(describe(client.fetch_x509_context(timeout=DEADLINE)))


def watch_x509():
    """The library hides the errors of a stream that it opens again itself, so each stream is opened here."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    with WorkloadApiClient() as client:
        while not ended.is_set():
            failed = threading.Event()

            def on_error(error, failed=failed):
                text = str(error)
                say({"error": "PermissionDenied" if "PERMISSION_DENIED" in text else text})
                failed.set()

            stream = client.stream_x509_contexts(lambda context: say(describe(context)), on_error, retry_connect=False)
            while not (failed.wait(RETRY) or ended.is_set()):
                pass
            stream.cancel()
            ended.wait(RETRY)


def fetch_jwt(audience):
    with WorkloadApiClient() as client:
        svid = client.fetch_jwt_svid(audience={audience}, timeout=DEADLINE)
        say({"id": str(svid.spiffe_id), "token": svid.token})


def validate_jwt(audience, token):
    """Checks with the library against the JWT bundles, and asks the Workload API too: both must agree."""
    with WorkloadApiClient() as client:
        bundles = client.fetch_jwt_bundles(timeout=DEADLINE)
        claimed = JwtSvid.parse_insecure(token, {audience})
        bundle = bundles.get_bundle_for_trust_domain(TrustDomain(claimed.spiffe_id.trust_domain.name))
        here = JwtSvid.parse_and_validate(token, bundle, {audience})
        there = client.validate_jwt_svid(token, audience, timeout=DEADLINE)
        if here.spiffe_id != there.spiffe_id:
            raise ValueError(f"the library says {here.spiffe_id}, the Workload API says {there.spiffe_id}")
        say({"id": str(here.spiffe_id)})


def peer_of(connection):
    leaf = connection.get_peer_certificate().to_cryptography()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)[0]


def read_line(connection):
    line = b""
    while not line.endswith(b"\n"):
        line += connection.recv(4096)
    return line


def serve(*spiffe_ids):
    with X509Source(timeout_in_seconds=DEADLINE) as source:
        authorize = authorize_one_of({SpiffeId(client) for client in spiffe_ids})
        listener = socket.create_server(("127.0.0.1", 0))
        say({"port": listener.getsockname()[1]})

        def answer(plain):
            # A context of its own for each connection: `listen` of the library goes on with the certificate that it began with.
            connection = SSL.Connection(create_ssl_context(SSL.TLS_SERVER_METHOD, source, authorize), plain)
            connection.set_accept_state()
            try:
                connection.do_handshake()
                say({"peer": peer_of(connection)})
                connection.sendall(read_line(connection))
                connection.shutdown()
            except (SSL.Error, OSError) as error:
                say({"error": repr(error)})
            finally:
                connection.close()

        def accept():
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        sys.stdin.read()


def dial():
    with X509Source(timeout_in_seconds=DEADLINE) as source:
        for line in sys.stdin:
            try:
                address, server = line.split()
                connection = tls_dial(address, source, authorize_fn=authorize_id(SpiffeId(server)))
                connection.sendall(b"hello from python\n")
                say({"peer": peer_of(connection), "answer": read_line(connection).decode().strip()})
                connection.close()
            except Exception as error:  # whatever the library makes of it is what the suite wants to see
                say({"error": repr(error)})


VERBS = {
    "fetch-x509": (0, fetch_x509),
    "watch-x509": (0, watch_x509),
    "fetch-jwt": (1, fetch_jwt),
    "validate-jwt": (2, validate_jwt),
    "serve": (None, serve),
    "dial": (0, dial),
}


def main(words):
    verb, *rest = words or [""]
    count, run = VERBS.get(verb, (-1, None))
    if count is not None and count != len(rest):
        raise SystemExit("unknown verb or number of words; see the README beside")
    try:
        run(*rest)
    except Exception as error:
        say({"error": str(error)})
        raise SystemExit(1) from None


if __name__ == "__main__":
    main(sys.argv[1:])
