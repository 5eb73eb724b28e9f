"""An authority of a test's own, and certificates of it."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


class Pair:
    """A certificate and its key, in PEM."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate.public_bytes(Encoding.PEM)
        self._key = key

    def key(self, password: bytes = b"") -> bytes:
        hidden: KeySerializationEncryption = BestAvailableEncryption(password) if password else NoEncryption()
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden)


class Authority:
    """Without the extensions that a strict reader wants of one, as many clusters have it."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("authority")
        extension = x509.BasicConstraints(ca=True, path_length=None)
        built = _built(self._name, self._name, self._key, DAY).add_extension(extension, critical=True)
        self.certificate = built.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def issue(self, name: str, lasts: timedelta = DAY) -> Pair:
        """For a host of that name or address, or a user."""
        key = ec.generate_private_key(ec.SECP256R1())
        host = x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
        built = _built(_name(name), self._name, key, lasts)
        built = built.add_extension(x509.SubjectAlternativeName([host]), critical=False)
        return Pair(built.sign(self._key, hashes.SHA256()), key)

    def server(self, folder: Path, name: str, clients: bool = False) -> ssl.SSLContext:
        """That of a server of that name; with `clients`, they must have certificates of this authority."""
        pair, path = self.issue(name), folder / "server.pem"
        path.write_bytes(pair.certificate + pair.key())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=self.certificate.decode())
        return context


def _built(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lasts: timedelta
) -> x509.CertificateBuilder:
    end = datetime.now(UTC) + lasts
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key.public_key())
    return builder.serial_number(x509.random_serial_number()).not_valid_before(end - 9 * DAY).not_valid_after(end)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
