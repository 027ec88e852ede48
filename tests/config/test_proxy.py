"""The proxy of providers and webhooks: from the file, from secrets, from the environment."""

from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config.changes import changes
from smtprelay.config.effective import effective
from smtprelay.config.problem import render
from smtprelay.net.outbound import HttpProxy
from tests.config.loading import codes, load_text, problems_of, told, with_provider

PLAIN = HttpProxy(host="proxy.example.com", port=3128)
URL = "http://relay:hunter2@proxy.example.com:3128"
KEYS = "type: ses, region: eu-west-1"


def configured(settings: str = "", environ: Mapping[str, str] | None = None) -> Any:
    """Return the settings of a provider."""
    return load_text(with_provider(f"{KEYS}{settings}"), environ).config.providers["more"]


class EnvironmentTests(SynchronousTestCase):
    def test_variables(self) -> None:
        """The first variable that is set counts, as with curl; the setting goes before all."""
        for environ, settings, host in (
            ({}, "", None),
            ({"HTTPS_PROXY": "http://a:1"}, "", "a:1"),
            (
                {"https_proxy": "http://b:1", "HTTPS_PROXY": "http://a:1", "ALL_PROXY": "http://c:1"},
                "",
                "b:1",
            ),
            ({"https_proxy": "", "ALL_PROXY": "c:1"}, "", "c:1"),
            ({"all_proxy": "http://d:1"}, "", "d:1"),
            ({"HTTP_PROXY": "http://e:1", "http_proxy": "http://e:1"}, "", None),
            ({"HTTPS_PROXY": "http://a:1"}, ", proxy: http://f:1", "f:1"),
            ({"HTTPS_PROXY": "http://a:1"}, ", proxy: off", None),
            ({"HTTPS_PROXY": "http://a:1"}, ", proxy: Off", None),
            ({"HTTPS_PROXY": "http://a:1"}, ", proxy: null", "a:1"),
            ({"P": "http://g:1"}, ", proxy: {env: P}", "g:1"),
            ({"P": "off", "HTTPS_PROXY": "http://a:1"}, ", proxy: {env: P}", None),
            ({"PW": "x"}, ', proxy: "http://u:${PW}@g:1"', "g:1"),
            ({"SMTPRELAY_PROVIDERS__MORE__PROXY": "http://h:1"}, "", "h:1"),
        ):
            proxy = configured(settings, environ).outbound.proxy
            self.assertEqual(None if proxy is None else str(proxy), host, (environ, settings))

    def test_no_proxy(self) -> None:
        """NO_PROXY is a list with commas or blanks; the setting goes before it."""
        environ = {"NO_PROXY": "a.example, .b.example 10.0.0.0/8,,*:443"}
        outbound = configured(f", proxy: {URL}", environ).outbound
        self.assertEqual(outbound.no_proxy, ("a.example", ".b.example", "10.0.0.0/8", "*:443"))
        self.assertIsNone(outbound.proxy_for("email.b.example", 443))
        self.assertEqual(configured("", {**environ, "no_proxy": "c"}).outbound.no_proxy, ("c",))
        self.assertEqual(configured(", no_proxy: [d]", environ).outbound.no_proxy, ("d",))

    def test_who_uses_it(self) -> None:
        """Webhooks do, also those of routes; another SMTP server and a folder do not."""
        text = with_provider("type: smarthost, host: h").replace(
            "via: [more]", "via: [more], on_failed: webhook, webhook: {url: {env: HOOK}}"
        )
        text += "webhook: {url: {env: HOOK}, proxy: off}\n"
        config = load_text(text, {"HOOK": "https://h.example/", "HTTPS_PROXY": "a:1"}).config
        self.assertEqual((config.routes[0].webhook.proxy, config.webhook.proxy), ("http://a:1", "off"))
        self.assertIsNone(config.providers["more"].outbound.proxy)
        unknown = problems_of(with_provider("type: smarthost, host: h, proxy: http://a:1"))
        self.assertIn('unknown key "proxy"', unknown[0].text)

    def test_tokens_of_a_smarthost(self) -> None:
        """They are HTTP, so they take the proxy of the environment, or one of their own."""
        oauth = "client_id: c, refresh_token: {env: TOKEN}"
        for own, expected in (("", "http://a:1"), (", proxy: off", "off"), (", proxy: b:2", "http://b:2")):
            text = with_provider(f"type: smarthost, host: h, username: u, oauth: {{{oauth}{own}}}")
            provider = load_text(text, {"TOKEN": "t", "HTTPS_PROXY": "a:1"}).config.providers["more"]
            self.assertEqual(provider.oauth.proxy, expected)


class CheckTests(SynchronousTestCase):
    def test_wrong(self) -> None:
        """A URL that is none is an error at its place, without its password."""
        for value, environ, code, why in (
            ("socks5://u:hunter2@p:1", {}, "CFG-VALUE", "not by socks5://"),
            ("none", {}, "CFG-VALUE", "expected http://HOST:PORT"),
            ('"http://u:hunter2/@p:1"', {}, "CFG-VALUE", "expected http://HOST:PORT"),
            ("{env: P}", {"P": "http://u:hunter2/@p:1"}, "CFG-SECRET", "expected http://HOST:PORT"),
            ("{file: /nope}", {}, "CFG-SECRET", "no such file"),
            ("null", {"HTTPS_PROXY": "http://u:hunter2/@p:1"}, "CFG-SECRET", "HTTPS_PROXY: not the URL"),
            (
                "null",
                {"all_proxy": "socks5h://p:1"},
                "CFG-SECRET",
                "all_proxy: a proxy is reached by http://",
            ),
        ):
            problems = problems_of(with_provider(f"{KEYS}, proxy: {value}"), environ)
            self.assertEqual(codes(problems), [code], value)
            self.assertIn(why, problems[0].text)
            self.assertNotIn("hunter2", render(problems[0]))

    def test_switched_off(self) -> None:
        """What the environment says does not matter where it is ignored."""
        self.assertEqual(problems_of(with_provider(f"{KEYS}, proxy: off"), {"ALL_PROXY": "socks5://p:1"}), [])

    def test_inline_password(self) -> None:
        """A password in the file is a warning; a URL without one, or from outside, is none."""
        warned = problems_of(with_provider(f"{KEYS}, proxy: {URL}"))
        self.assertEqual(codes(warned), ["CFG-INLINE-SECRET?"])
        self.assertIn("providers.more.proxy: the secret is in the configuration", told(warned)[0])
        for value, environ in (
            ("http://proxy.example.com:3128", {}),
            ("http://relay@proxy.example.com:3128", {}),
            ('"http://u:${PW}@p:1"', {"PW": "hunter2"}),
            ("{env: P}", {"P": URL}),
            ("null", {"HTTPS_PROXY": URL}),
        ):
            self.assertEqual(problems_of(with_provider(f"{KEYS}, proxy: {value}"), environ), [], value)


class MaskingTests(SynchronousTestCase):
    def test_shown(self) -> None:
        """The proxy is shown, its login is not; of a secret the place is shown."""
        for settings, environ, shown in (
            (f", proxy: {URL}", {}, "http://‹hidden›@proxy.example.com:3128"),
            ("", {"HTTPS_PROXY": URL}, "http://‹hidden›@proxy.example.com:3128"),
            (", proxy: proxy.example.com:3128", {}, "http://proxy.example.com:3128"),
            (", proxy: {env: P}", {"P": URL}, "‹env P›"),
            (", proxy: off", {}, "off"),
        ):
            settings_ = configured(settings, environ)
            self.assertEqual(effective(settings_)["proxy"], shown)
            self.assertNotIn("hunter2", repr(settings_.outbound))

    def test_changes(self) -> None:
        """A changed password is told as a change, and not shown."""
        old, new = (
            load_text(with_provider(f"{KEYS}, proxy: http://u:{word}@p:1")).config
            for word in ("hunter2", "hunter3")
        )
        [change] = [each for each in changes(old, new) if each.key.startswith("providers.more")]
        self.assertEqual(str(change), "providers.more.proxy: changed")
