"""How the API server proves itself and, with a client certificate, the gateway: the TLS of a kubeconfig. Used by `connect`."""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
from datetime import datetime
from pathlib import Path

import httpx2
from cryptography import x509

from penstock.errors import SettingsError
from penstock.providers.kubernetes.client.kubeconfig import Chosen


def tls(chosen: Chosen) -> ssl.SSLContext:
    """Raises SettingsError with what cannot be used, and where it is."""
    context = _trust(chosen)
    if pair := client_pair(chosen):
        _load(context, pair, chosen.user_named)
    return context


def client_pair(chosen: Chosen) -> tuple[bytes, bytes] | None:
    """Certificate and key of the user, in PEM; None for a user without. What a kubeconfig has in it goes before files."""
    user, folder = chosen.user, chosen.user_folder
    certificate = _pem(
        user.client_certificate_data, user.client_certificate, folder, f"client-certificate of {chosen.user_named}"
    )
    key = _pem(user.client_key_data, user.client_key, folder, f"client-key of {chosen.user_named}")
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        missing = "client-certificate" if certificate is None else "client-key"
        raise SettingsError(f"kubernetes: {chosen.user_named} has no {missing}")
    return certificate, key


def expiry(certificate: bytes, named: str) -> datetime:
    """When a certificate in PEM is over, with zone UTC."""
    try:
        return x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    except ValueError as error:
        raise SettingsError(f"kubernetes: client-certificate of {named} is no certificate in PEM") from error


def _trust(chosen: Chosen) -> ssl.SSLContext:
    cluster, named = chosen.cluster, f"certificate-authority of {chosen.cluster_named}"
    authority = _pem(cluster.certificate_authority_data, cluster.certificate_authority, chosen.cluster_folder, named)
    if cluster.insecure_skip_tls_verify:
        if authority is not None:
            raise SettingsError(
                f"kubernetes: {chosen.cluster_named} has a certificate-authority and insecure-skip-tls-verify; remove one of them"
            )
        return httpx2.create_ssl_context(verify=False)
    if authority is None:
        return httpx2.create_ssl_context(trust_env=False)
    try:
        context = ssl.create_default_context(cadata=authority.decode())
    except (ssl.SSLError, ValueError) as error:
        raise SettingsError(f"kubernetes: {named} cannot be used: it has no certificate in PEM") from error
    # Python 3.13 begins to want extensions that authorities of clusters, made by many tools, do not have.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _load(context: ssl.SSLContext, pair: tuple[bytes, bytes], named: str) -> None:
    """Python takes both from files only."""
    handle, path = tempfile.mkstemp()
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pair[0].rstrip() + b"\n" + pair[1])
        context.load_cert_chain(path, password="")  # a key with a password would be asked for at the terminal
    except ssl.SSLError as error:
        why = str(error.reason or error).replace("_", " ").lower()
        raise SettingsError(
            f"kubernetes: client-certificate and client-key of {named} cannot be used: {why}; "
            "they must belong together, in PEM and without a password"
        ) from error
    finally:
        Path(path).unlink()


def _pem(data: str | None, file: str | None, folder: Path, named: str) -> bytes | None:
    if data:
        try:
            return base64.b64decode("".join(data.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise SettingsError(f"kubernetes: {named} cannot be used: its data is no base64") from error
    if not file:
        return None
    path = folder / file
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise SettingsError(f"kubernetes: {named} cannot be read: {path}: {why}") from error
