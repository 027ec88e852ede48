"""Microsoft's SDK for Graph against our fake, over TLS, with tokens of azure-identity."""

import asyncio
import gc
import ssl
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtprelay.testing.graph import FakeGraph
from smtprelay.testing.graph_mail import GraphRefuses
from tests.azure.joined_entra import CLIENT, SECRET, TENANT
from tests.azure.peers import EntraServer, served_by_tls

with warnings.catch_warnings():
    # The SDK warns of its own parts.
    warnings.simplefilter("ignore", DeprecationWarning)
    import httpx
    from azure.identity import ClientSecretCredential
    from kiota_abstractions.base_request_configuration import RequestConfiguration
    from kiota_authentication_azure.azure_identity_authentication_provider import (
        AzureIdentityAuthenticationProvider,
    )
    from msgraph import GraphRequestAdapter, GraphServiceClient
    from msgraph.generated.models.attachment_item import AttachmentItem
    from msgraph.generated.models.attachment_type import AttachmentType
    from msgraph.generated.models.body_type import BodyType
    from msgraph.generated.models.email_address import EmailAddress
    from msgraph.generated.models.file_attachment import FileAttachment
    from msgraph.generated.models.item_body import ItemBody
    from msgraph.generated.models.message import Message
    from msgraph.generated.models.o_data_errors.o_data_error import ODataError
    from msgraph.generated.models.recipient import Recipient
    from msgraph.generated.users.item.messages.item.attachments.create_upload_session import (
        create_upload_session_post_request_body as upload_body,
    )
    from msgraph.generated.users.item.messages.messages_request_builder import MessagesRequestBuilder
    from msgraph.generated.users.item.send_mail.send_mail_post_request_body import SendMailPostRequestBody
    from msgraph_core import GraphClientFactory

ANN, BOB = "ann@example.com", "bob@example.net"


def message(**more: Any) -> Message:
    people = [Recipient(email_address=EmailAddress(address=BOB))]
    body = ItemBody(content_type=BodyType.Text, content="hello")
    return Message(subject="Hi", body=body, to_recipients=people, **more)


class SdkTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.entra = EntraServer(self)
        resource = "https://graph.microsoft.com"
        self.fake = FakeGraph(reactor, lambda token: self.entra.fake.knows(token, resource), [ANN])
        self.url = served_by_tls(self, self.fake, self.entra.certificate)

    async def run_sdk(self, work: Callable[[GraphServiceClient], Awaitable[Any]]) -> Any:
        """Return what ``work`` returns, which gets the SDK's client; on a thread with a loop of its own."""

        async def main() -> Any:
            credential = ClientSecretCredential(
                TENANT,
                CLIENT,
                SECRET,
                authority=self.entra.url,
                connection_verify=self.entra.ca,
                disable_instance_discovery=True,
            )
            login = AzureIdentityAuthenticationProvider(
                credential, scopes=["https://graph.microsoft.com/.default"], allowed_hosts=["localhost"]
            )
            http = GraphClientFactory.create_with_default_middleware(
                client=httpx.AsyncClient(verify=ssl.create_default_context(cafile=self.entra.ca))
            )
            adapter = GraphRequestAdapter(login, client=http)
            adapter.base_url = f"{self.url}/v1.0"
            async with http:
                return await work(GraphServiceClient(request_adapter=adapter))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return await deferToThread(lambda: asyncio.run(main()))
            finally:
                gc.collect()  # connections that the SDK has left open: nobody else shall be told of them

    async def test_sent(self) -> None:
        """A mail in JSON."""

        async def work(client: GraphServiceClient) -> None:
            await client.users.by_user_id(ANN).send_mail.post(
                SendMailPostRequestBody(message=message(), save_to_sent_items=False)
            )

        await self.run_sdk(work)
        [mail] = self.fake.mails
        self.assertEqual((mail.mailbox, list(mail.to), mail.subject), (ANN, [BOB], "Hi"))

    async def test_large(self) -> None:
        """A draft, a small file, a large one in ranges, found and sent; another one is deleted."""
        large = bytes(range(256)) * 20_000

        async def work(client: GraphServiceClient) -> None:
            box = client.users.by_user_id(ANN)
            draft = await box.messages.post(message(internet_message_id="<1@x.example>"))
            one = box.messages.by_message_id(draft.id)
            await one.attachments.post(FileAttachment(name="a.txt", content_bytes=b"small"))
            item = AttachmentItem(attachment_type=AttachmentType.File, name="b.bin", size=len(large))
            body = upload_body.CreateUploadSessionPostRequestBody(attachment_item=item)
            session = await one.attachments.create_upload_session.post(body)
            # The SDK's own task cannot read the ranges that Outlook documents.
            async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=self.entra.ca)) as http:
                for at in range(0, len(large), 3 << 20):
                    piece = large[at : at + (3 << 20)]
                    where = f"bytes {at}-{at + len(piece) - 1}/{len(large)}"
                    answer = await http.put(
                        session.upload_url, content=piece, headers={"Content-Range": where}
                    )
                    assert answer.status_code == (201 if at else 200), answer
            query = MessagesRequestBuilder.MessagesRequestBuilderGetQueryParameters(
                filter="internetMessageId eq '<1@x.example>'", select=["id", "isDraft"]
            )
            asked = RequestConfiguration(query_parameters=query)
            found = await box.messages.get(asked)
            assert [(each.id, each.is_draft) for each in found.value] == [(draft.id, True)]
            await one.send.post()
            other = await box.messages.post(message())
            await box.messages.by_message_id(other.id).delete()

        await self.run_sdk(work)
        [mail] = self.fake.mails
        self.assertEqual([file.content for file in mail.files], [b"small", large])
        self.assertEqual(self.fake.drafts, [])

    async def test_refused(self) -> None:
        """What is wrong is told as the real service tells it; what asks too much is tried again."""
        told = []

        async def work(client: GraphServiceClient) -> None:
            for user in (ANN, "nobody@example.com"):
                try:
                    await client.users.by_user_id(user).send_mail.post(
                        SendMailPostRequestBody(message=message())
                    )
                except ODataError as error:
                    told.append(
                        (error.response_status_code, error.error.code, error.error.inner_error.request_id)
                    )

        self.fake.script(GraphRefuses(403, "ErrorAccessDenied"))
        await self.run_sdk(work)
        self.assertEqual(
            told, [(403, "ErrorAccessDenied", "request-1"), (404, "ErrorInvalidUser", "request-2")]
        )
        self.fake.script(GraphRefuses(429, "TooManyRequests", headers={"Retry-After": "0"}))
        told.clear()
        await self.run_sdk(work)
        self.assertEqual(([code for _, code, _ in told], len(self.fake.mails)), (["ErrorInvalidUser"], 1))
