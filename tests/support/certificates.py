"""An authority of the test's own and what it certifies."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


class Certificates:
    """PEM files of an authority, of servers for `localhost` and loopback, and of a client.

    `renew` has the same authority certify new keys; `replace` begins anew with another authority.
    Both write the same files, as certificate managers do.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.authority = directory / "ca.pem"
        self.server, self.server_key = directory / "server.pem", directory / "server.key"
        self.client, self.client_key = directory / "client.pem", directory / "client.key"
        self.replace()

    def replace(self) -> None:
        """Another authority, and everything certified by it."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, "feast-rs tests"),
                x509.NameAttribute(NameOID.SERIAL_NUMBER, str(x509.random_serial_number())),
            ]
        )
        usage = x509.KeyUsage(
            key_cert_sign=True,
            crl_sign=True,
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        self._certificate = (
            builder(name, name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.authority.write_bytes(pem(self._certificate))
        self.renew()

    def renew(self) -> None:
        """New keys and certificates for server and client, of the same authority."""
        names = [
            x509.DNSName("localhost"),
            *(x509.IPAddress(ip_address(f"127.0.0.{number}")) for number in (1, 2)),
        ]
        self._certify("server", x509.SubjectAlternativeName(names), self.server, self.server_key)
        alone = x509.SubjectAlternativeName([x509.DNSName("client")])
        self._certify("client", alone, self.client, self.client_key)

    def _certify(
        self, name: str, names: x509.SubjectAlternativeName, certificate: Path, key: Path
    ) -> None:
        private = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signed = (
            builder(subject, self._certificate.subject, private.public_key())
            .add_extension(names, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        key.write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        certificate.write_bytes(pem(signed))


def builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    """A certificate that is valid from yesterday to tomorrow."""
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
    )


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
