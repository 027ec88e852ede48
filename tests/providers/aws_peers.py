"""What stands for Amazon on this machine: moto's server, which checks signatures and policies."""

import atexit
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import boto3

from tests.ports import free_port

REGION = "eu-west-1"
TRUST = (
    '{"Version": "2012-10-17", "Statement": '
    '[{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}]}'
)
POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": %s, "Resource": "*"}]}'
#: Calls that :func:`prepared` makes before moto checks.
_CALLS = 7


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Have these variables, and no others of AWS and of Vault."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("AWS_", "VAULT_"))]:
        del os.environ[name]
    with TemporaryDirectory() as folder:
        nowhere = {
            f"AWS_{name}": str(Path(folder, name)) for name in ("CONFIG_FILE", "SHARED_CREDENTIALS_FILE")
        }
        os.environ.update({"AWS_EC2_METADATA_DISABLED": "true", **nowhere, **values})
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


class Moto:
    """
    A running server.

    :ivar url: where it is.
    :ivar keys: access key and secret of a user who may send and assume ``role``.
    """

    def __init__(self, port: int, *, checks: bool) -> None:
        environ = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(_CALLS if checks else 1_000_000)}
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        self._process = subprocess.Popen(
            command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.url = f"http://127.0.0.1:{port}"
        self._wait()
        self.keys, self.role = self._prepared()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def client(self, service: str, key: str = "setup", secret: str = "setup") -> object:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
        )

    def _wait(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and self._process.poll() is None:
            try:
                urlopen(f"{self.url}/moto-api/data.json", timeout=5).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError("moto did not start")

    def _prepared(self) -> tuple[tuple[str, str], str]:
        iam, ses = self.client("iam"), self.client("ses")
        ses.verify_domain_identity(Domain="mail.example.com")
        iam.create_user(UserName="relay")
        allowed = POLICY % '["ses:SendEmail", "ses:SendRawEmail", "ses:GetSendQuota", "sts:AssumeRole"]'
        iam.put_user_policy(UserName="relay", PolicyName="send", PolicyDocument=allowed)
        keys = iam.create_access_key(UserName="relay")["AccessKey"]
        role = iam.create_role(RoleName="mail", AssumeRolePolicyDocument=TRUST)["Role"]
        iam.put_role_policy(RoleName="mail", PolicyName="send", PolicyDocument=allowed)
        ses.verify_email_identity(EmailAddress="other@example.org")
        return (keys["AccessKeyId"], keys["SecretAccessKey"]), role["Arn"]


@cache
def moto(*, checks: bool = True) -> Moto:
    """
    Return the server of this process, which is started once and ends with it.

    :param checks: signatures and policies; it then refuses requests that need none.
    """
    server = Moto(free_port(), checks=checks)
    atexit.register(server.stop)
    return server
