"""A server that speaks TLS on one port and plain on another."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .server import Server, free_port, private_server

_DAY = timedelta(days=1)


def _certify(certificate: Path, key: Path) -> None:
    """Write a key and a certificate of 127.0.0.1 that it signs itself, both PEM."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "feast-rs benchmarks")])
    now = datetime.now(timezone.utc)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pkcs8 = serialization.PrivateFormat.PKCS8
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, pkcs8, plain))


@contextmanager
def server_with_tls(directory: Path) -> Iterator[tuple[Server, dict[str, Any]]]:
    """Run a server; also gives what an `online_store` section says of its port with TLS.

    That is nothing where the embedded Valkey serves, which speaks no TLS.
    """
    if shutil.which("redis-server") is None:
        with private_server() as server:
            yield server, {}
        return
    certificate, key = directory / "server.pem", directory / "server.key"
    _certify(certificate, key)
    port = free_port()
    options = ["--tls-port", str(port), "--tls-auth-clients", "no"]
    options += ["--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    with private_server(*options) as server:
        address = f"{server.host}:{port}"
        yield (
            server,
            {"connection_string": f"{address},ssl=true", "ssl_ca_certs": str(certificate)},
        )
