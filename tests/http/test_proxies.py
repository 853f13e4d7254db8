"""The rule that finds a request's proxy."""

from twisted.trial.unittest import SynchronousTestCase

from aibridge.http.proxies import Proxy, find_proxy, read_proxy

PROXY = "http://proxy.test:3128"
ENVIRONMENT = {"HTTPS_PROXY": "http://tls.test:1", "HTTP_PROXY": "http://plain.test:2"}
API = "https://api.provider.test/v1"


class FindProxyTests(SynchronousTestCase):
    """The setting, else the environment; never for this machine."""

    def through(self, url, setting=None, **environ):
        """The host of the proxy, None for a direct connection."""
        proxy = find_proxy(url, setting, environ)
        return proxy and proxy.host

    def exempt(self, url, no_proxy):
        """True if that list exempts the URL from the environment's proxy."""
        return self.through(url, HTTPS_PROXY=PROXY, HTTP_PROXY=PROXY, NO_PROXY=no_proxy) is None

    def test_none(self):
        """Without a setting and a variable there is no proxy; an empty variable is none."""
        self.assertIsNone(self.through(API))
        self.assertIsNone(self.through(API, HTTPS_PROXY="", https_proxy=" "))

    def test_by_scheme(self):
        """Each scheme has its variable; ALL_PROXY stands for the one that is not set."""
        self.assertEqual(self.through(API, **ENVIRONMENT), "tls.test")
        self.assertEqual(self.through("http://api.test", **ENVIRONMENT), "plain.test")
        self.assertEqual(self.through("HTTP://api.test", HTTPS_PROXY=PROXY, ALL_PROXY="http://all.test"), "all.test")
        self.assertIsNone(self.through("http://api.test", HTTPS_PROXY=PROXY))

    def test_lower_case_first(self):
        """Lower case comes before upper case, and an empty one in lower case switches the other off."""
        self.assertEqual(
            self.through(API, HTTPS_PROXY="http://upper.test", https_proxy="http://lower.test"), "lower.test"
        )
        self.assertIsNone(self.through(API, HTTPS_PROXY=PROXY, https_proxy=""))
        self.assertEqual(self.through(API, HTTPS_PROXY=PROXY, NO_PROXY="*", no_proxy=""), "proxy.test")

    def test_setting(self):
        """A setting replaces the environment, its exemptions too; ``off`` connects directly."""
        self.assertEqual(self.through(API, PROXY, NO_PROXY="*", **ENVIRONMENT), "proxy.test")
        self.assertIsNone(self.through(API, "off", **ENVIRONMENT))

    def test_loopback(self):
        """This machine is never reached through a proxy, whoever names the proxy."""
        for host in (
            "127.0.0.1",
            "127.8.9.1:8080",
            "[::1]",
            "localhost:1234",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
        ):
            for scheme in ("http", "https"):
                self.assertIsNone(self.through(f"{scheme}://{host}/mcp", PROXY))
                self.assertIsNone(self.through(f"{scheme}://{host}/mcp", **ENVIRONMENT))

    def test_exempt_names(self):
        """A name exempts itself and all names below it, with a leading dot or star too."""
        for no_proxy in (
            "provider.test",
            ".provider.test",
            "*.provider.test",
            "a.test, PROVIDER.test.",
            "a.test provider.test",
        ):
            self.assertTrue(self.exempt(API, no_proxy), no_proxy)
            self.assertTrue(self.exempt("https://Provider.Test", no_proxy), no_proxy)
            self.assertFalse(self.exempt("https://myprovider.test", no_proxy), no_proxy)

    def test_exempt_all(self):
        """A star exempts every host."""
        for no_proxy in ("*", "a.test,*"):
            self.assertTrue(self.exempt(API, no_proxy))

    def test_exempt_ports(self):
        """An entry with a port exempts that port only; a URL without one has its scheme's."""
        self.assertTrue(self.exempt(API, "provider.test:443"))
        self.assertTrue(self.exempt("http://10.0.0.1:8080", "10.0.0.1:8080"))
        self.assertFalse(self.exempt(API, "provider.test:8443"))
        self.assertTrue(self.exempt("https://[fd00::1]:8443", "[fd00::1]:8443"))

    def test_exempt_networks(self):
        """Addresses are exempt by themselves and by their networks."""
        for no_proxy in ("10.1.2.3", "10.0.0.0/8", "10.9.9.9/8", "192.168.0.0/16,10.1.0.0/16"):
            self.assertTrue(self.exempt("https://10.1.2.3/v1", no_proxy), no_proxy)
        for no_proxy in ("fd00::/8", "fd00::1", "[fd00::1]"):
            self.assertTrue(self.exempt("https://[fd00::1]/v1", no_proxy), no_proxy)
        for no_proxy in ("10.1.2.4", "10.2.0.0/16", "fd00::/8", "1.2.3", "/8", ":", "."):
            self.assertFalse(self.exempt("https://10.1.2.3/v1", no_proxy), no_proxy)

    def test_wrong_variable(self):
        """A variable that can't be used is named, and its value isn't."""
        error = self.assertRaises(ValueError, find_proxy, API, None, {"https_proxy": "socks5://user:hunter2@h:1"})
        self.assertTrue(str(error).startswith("HTTPS_PROXY in the environment must be the URL of an HTTP proxy"))
        self.assertNotIn("hunter2", str(error))


class ReadProxyTests(SynchronousTestCase):
    """The URL of a proxy."""

    def test_parts(self):
        """Scheme, port, user and password may be absent; a proxy without a port has curl's 1080."""
        for url, proxy in (
            ("http://proxy.test:3128", Proxy("proxy.test", 3128)),
            ("proxy.test:3128/", Proxy("proxy.test", 3128)),
            ("proxy.test", Proxy("proxy.test", 1080)),
            ("http://[fd00::1]:8", Proxy("fd00::1", 8)),
            ("http://user:pa%40ss@proxy.test:8", Proxy("proxy.test", 8, b"Basic dXNlcjpwYUBzcw==")),
            ("user@proxy.test:8", Proxy("proxy.test", 8, b"Basic dXNlcjo=")),
        ):
            self.assertEqual(read_proxy(url), proxy)

    def test_shown(self):
        """Only its address is shown, never its credentials."""
        proxy = read_proxy("http://user:hunter2@[fd00::1]:8")
        self.assertEqual(str(proxy), "[fd00::1]:8")
        self.assertEqual(repr(proxy), "Proxy(host='fd00::1', port=8)")

    def test_wrong(self):
        """What is no HTTP proxy's URL is refused without being repeated."""
        for url in (
            "",
            "https://h:1",
            "socks5://h",
            "http://",
            "http://h:0",
            "http://h:x",
            "http://h/x",
            "http://h?x",
            "a b",
        ):
            error = self.assertRaises(ValueError, read_proxy, url)
            self.assertTrue(str(error).startswith("must be the URL of an HTTP proxy"))
