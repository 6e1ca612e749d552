"""What the image `curlimages/curl` runs in the embedded lab: libcurl behind curl's command line.

The options are those of `FLAGS` and `VALUES`; any other fails as curl fails on one that it does not know (2).
Exit codes, messages and the variables of `--write-out` are libcurl's and curl's.  Names of Services are found
in the file that MESHLIB_HOSTS names, for a lab has no DNS server; all else (http_proxy, no_proxy) is as in
curl.  Left out: the progress meter, globbing of URLs, ~/.curlrc and every protocol but HTTP.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import pycurl

FLAGS = {
    "s": "silent", "S": "show-error", "i": "include", "I": "head", "v": "verbose", "k": "insecure",
    "L": "location", "f": "fail", "g": "globoff", "N": "no-buffer", "h": "help", "V": "version",
    "0": "http1.0",
}  # fmt: skip
LONG_FLAGS = frozenset(FLAGS.values()) | {
    "http1.1", "http2", "http2-prior-knowledge", "tlsv1.2", "tlsv1.3", "retry-connrefused",
    "retry-all-errors", "fail-early",
}  # fmt: skip
VALUES = {
    "o": "output", "w": "write-out", "H": "header", "X": "request", "d": "data", "A": "user-agent",
    "E": "cert", "m": "max-time", "x": "proxy", "u": "user",
}  # fmt: skip
LONG_VALUES = frozenset(VALUES.values()) | {
    "cacert", "key", "connect-timeout", "retry", "retry-delay", "resolve", "connect-to", "noproxy", "tls-max",
    "ciphers", "tls13-ciphers", "max-redirs", "url", "data-raw", "data-binary",
}  # fmt: skip
REPEATED = frozenset({"output", "header", "data", "data-raw", "data-binary", "resolve", "connect-to", "url"})
TLS_MAX = {
    "1.2": pycurl.SSLVERSION_MAX_TLSv1_2,
    "1.3": pycurl.SSLVERSION_MAX_TLSv1_3,
    "default": pycurl.SSLVERSION_MAX_DEFAULT,
}
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
TIMED_OUT, REFUSED, USAGE, MALFORMED = 28, 7, 2, 3
HTTP_NAMES = {pycurl.CURL_HTTP_VERSION_1_0: "1.0", pycurl.CURL_HTTP_VERSION_1_1: "1.1", 3: "2", 30: "3"}
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
WRITE_OUT = re.compile(r"%%|%\{([^}]*)\}|%header\{([^}]*)\}|\\([nrt\\])")


class Usage(Exception):
    """A wrong command line; the text is what follows `curl: `, `code` the exit code."""

    def __init__(self, text: str, code: int = USAGE) -> None:
        self.code = code
        super().__init__(text)


@dataclass
class Options:
    """A parsed command line: flags, the last (or all) values of each option, the URLs."""

    flags: set[str] = field(default_factory=set)
    values: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    body: bytes | None = None

    def number(self, name: str, default: float) -> float:
        text = self.values.get(name)
        if text is None:
            return default
        try:
            return float(text)
        except ValueError:
            raise Usage(f"option --{name}: expected a proper numerical parameter") from None


def parse(argv: Sequence[str]) -> Options:
    """The command line as options.  Raises `Usage`."""
    found = Options()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word.startswith("--") and word != "--":
            name = word[2:]
            if name in LONG_FLAGS:
                found.flags.add(name)
            elif name in LONG_VALUES:
                _take(found, name, rest, word)
            else:
                raise Usage(f"option {word}: is unknown")
        elif word.startswith("-") and word not in ("-", "--"):
            _letters(found, word[1:], rest)
        elif word != "--":
            found.lists.setdefault("url", []).append(word)
    return found


def _letters(found: Options, letters: str, rest: list[str]) -> None:
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter in FLAGS:
            found.flags.add(FLAGS[letter])
        elif letter in VALUES:
            _take(found, VALUES[letter], [letters] if letters else rest, f"-{letter}")
            return
        else:
            raise Usage(f"option -{letter}: is unknown")


def _take(found: Options, name: str, rest: list[str], word: str) -> None:
    if not rest:
        raise Usage(f"option {word}: requires parameter")
    value = rest.pop(0)
    if name.startswith("data"):
        part = _data(name, value)
        found.body = part if found.body is None else found.body + b"&" + part
    elif name in REPEATED:
        found.lists.setdefault(name, []).append(value)
    else:
        found.values[name] = value


def _data(name: str, value: str) -> bytes:
    if not value.startswith("@") or name == "data-raw":
        return value.encode()
    try:
        content = sys.stdin.buffer.read() if value == "@-" else Path(value[1:]).read_bytes()
    except OSError as error:
        raise Usage(
            f"option --{name}: error encountered when reading a file: {error.strerror}", 26
        ) from error
    return content if name == "data-binary" else content.replace(b"\r", b"").replace(b"\n", b"")


def known_hosts(env: Mapping[str, str]) -> dict[str, str]:
    """Name → address from the file that MESHLIB_HOSTS names, in the form of /etc/hosts."""
    path = env.get("MESHLIB_HOSTS")
    if not path or not Path(path).is_file():
        return {}
    lines = (line.split() for line in Path(path).read_text().splitlines())
    return {name: words[0] for words in lines if words for name in words[1:]}


def setup(curl: pycurl.Curl, options: Options, url: str, hosts: Mapping[str, str]) -> None:
    """Set all options of a transfer.  Raises `Usage` for values that libcurl refuses."""
    values, flags, put = options.values, options.flags, curl.setopt
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if "globoff" not in flags and re.search(r"[{}]|\[(?![0-9a-fA-F:.]+\])", url):
        raise Usage("(3) URL globbing is not there in the embedded lab: name each URL, or use -g", MALFORMED)
    put(pycurl.URL, url)
    put(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    put(pycurl.NOSIGNAL, 1)
    put(pycurl.USERAGENT, values.get("user-agent", f"curl/{pycurl.version_info()[1]}"))
    put(pycurl.HTTPHEADER, options.lists.get("header", []))
    resolve = list(options.lists.get("resolve", []))
    port = parts.port or {"https": 443}.get(parts.scheme, 80)
    name = parts.hostname or ""
    if name in hosts and not any(each.startswith(f"{name}:{port}:") for each in resolve):
        resolve.append(f"{name}:{port}:{hosts[name]}")
    put(pycurl.RESOLVE, resolve)
    put(pycurl.CONNECT_TO, options.lists.get("connect-to", []))
    if options.body is not None:
        put(pycurl.POST, 1)
        put(pycurl.POSTFIELDSIZE_LARGE, len(options.body))
        put(pycurl.COPYPOSTFIELDS, options.body)
    put(pycurl.NOBODY, int("head" in flags))
    put(pycurl.FOLLOWLOCATION, int("location" in flags))
    put(pycurl.MAXREDIRS, int(options.number("max-redirs", 50)))
    put(pycurl.FAILONERROR, int("fail" in flags))
    put(pycurl.SSL_VERIFYPEER, int("insecure" not in flags))
    put(pycurl.SSL_VERIFYHOST, 0 if "insecure" in flags else 2)
    put(pycurl.TIMEOUT_MS, int(options.number("max-time", 0) * 1000))
    put(pycurl.CONNECTTIMEOUT_MS, int(options.number("connect-timeout", 300) * 1000))
    put(pycurl.SSLVERSION, _tls(options))
    put(pycurl.HTTP_VERSION, _http(flags))
    texts = {
        "request": pycurl.CUSTOMREQUEST, "cacert": pycurl.CAINFO, "cert": pycurl.SSLCERT,
        "key": pycurl.SSLKEY, "proxy": pycurl.PROXY, "noproxy": pycurl.NOPROXY, "user": pycurl.USERPWD,
        "ciphers": pycurl.SSL_CIPHER_LIST, "tls13-ciphers": pycurl.TLS13_CIPHERS,
    }  # fmt: skip
    for name, option in texts.items():
        if name in values:
            put(option, values[name])


def _tls(options: Options) -> int:
    most = options.values.get("tls-max", "default")
    if most not in TLS_MAX:
        raise Usage(f"option --tls-max: {most} is not one of {', '.join(TLS_MAX)}")
    least = pycurl.SSLVERSION_TLSv1_3 if "tlsv1.3" in options.flags else pycurl.SSLVERSION_TLSv1_2
    return int(least | TLS_MAX[most])


def _http(flags: set[str]) -> int:
    chosen = {
        "http1.0": pycurl.CURL_HTTP_VERSION_1_0,
        "http1.1": pycurl.CURL_HTTP_VERSION_1_1,
        "http2": pycurl.CURL_HTTP_VERSION_2,
        "http2-prior-knowledge": pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE,
    }
    wanted = [version for name, version in chosen.items() if name in flags]
    return int(wanted[0] if wanted else pycurl.CURL_HTTP_VERSION_2TLS)


@dataclass
class Transfer:
    """One URL: what came back, and how it ended."""

    code: int = 0
    message: str = ""
    body: list[bytes] = field(default_factory=list)
    headers: list[bytes] = field(default_factory=list)


def perform(curl: pycurl.Curl, options: Options, out: BinaryIO, err: Callable[[str], None]) -> Transfer:
    """Run the transfer that was set up, again as often as --retry allows; writes the answer to `out`."""
    again, pause_s = int(options.number("retry", 0)), options.number("retry-delay", 0)
    wait_s = pause_s or 1.0
    while True:
        done = _once(curl, options, None if again else out, err)
        if not again or not _transient(curl, done, options):
            break
        again -= 1
        if not _quiet(options):
            err(f"Warning: Problem: {done.message or 'HTTP error'}. Will retry in {wait_s:g} seconds.")
        time.sleep(wait_s)
        wait_s = pause_s or min(wait_s * 2, 600.0)
    for part in done.body:
        out.write(part)
    out.flush()
    return done


def _once(curl: pycurl.Curl, options: Options, out: BinaryIO | None, err: Callable[[str], None]) -> Transfer:
    done = Transfer()
    write: Callable[[bytes], Any] = done.body.append if out is None else out.write
    shows_headers = bool(options.flags & {"include", "head"})

    def header(line: bytes) -> None:
        done.headers.append(line)
        if shows_headers:
            write(line)

    curl.setopt(pycurl.WRITEFUNCTION, lambda part: write(part) and None)
    curl.setopt(pycurl.HEADERFUNCTION, header)
    curl.setopt(pycurl.VERBOSE, int("verbose" in options.flags))
    if "verbose" in options.flags:
        curl.setopt(pycurl.DEBUGFUNCTION, lambda kind, text: _trace(kind, text, err))
    try:
        curl.perform()
    except pycurl.error as failed:
        done.code, done.message = failed.args
    return done


def _trace(kind: int, text: bytes, err: Callable[[str], None]) -> None:
    if kind in (0, 1, 2):
        for line in text.decode(errors="replace").splitlines():
            err(f"{'*<>'[kind]} {line}")


def _transient(curl: pycurl.Curl, done: Transfer, options: Options) -> bool:
    if done.code == 0:
        return curl.getinfo(pycurl.RESPONSE_CODE) in TRANSIENT
    always = "retry-all-errors" in options.flags
    return always or done.code == TIMED_OUT or (done.code == REFUSED and "retry-connrefused" in options.flags)


def _quiet(options: Options) -> bool:
    return "silent" in options.flags and "show-error" not in options.flags


def written(template: str, facts: Mapping[str, str], headers: Sequence[bytes]) -> str:
    """What --write-out prints; a variable that is not known is left out, as curl does."""
    pairs = (line.decode("latin-1").partition(":") for line in headers)
    by_name = {name.lower(): value.strip() for name, colon, value in pairs if colon}

    def value(match: re.Match[str]) -> str:
        if match[3]:
            return ESCAPES[match[3]]
        if match[0] == "%%":
            return "%"
        return by_name.get(match[2].lower(), "") if match[2] else facts.get(match[1], "")

    return WRITE_OUT.sub(value, template)


def facts(curl: pycurl.Curl, url: str, done: Transfer) -> dict[str, str]:
    """The variables of --write-out."""
    info = curl.getinfo
    status = f"{info(pycurl.RESPONSE_CODE):03d}"
    seconds = {
        "time_namelookup": pycurl.NAMELOOKUP_TIME, "time_connect": pycurl.CONNECT_TIME,
        "time_appconnect": pycurl.APPCONNECT_TIME, "time_pretransfer": pycurl.PRETRANSFER_TIME,
        "time_starttransfer": pycurl.STARTTRANSFER_TIME, "time_redirect": pycurl.REDIRECT_TIME,
        "time_total": pycurl.TOTAL_TIME,
    }  # fmt: skip
    return {name: f"{info(option):.6f}" for name, option in seconds.items()} | {
        "url": url,
        "url_effective": info(pycurl.EFFECTIVE_URL),
        "http_code": status,
        "response_code": status,
        "http_version": HTTP_NAMES.get(info(pycurl.INFO_HTTP_VERSION), "0"),
        "exitcode": str(done.code),
        "errormsg": done.message,
        "remote_ip": info(pycurl.PRIMARY_IP) or "",
        "remote_port": str(info(pycurl.PRIMARY_PORT)),
        "local_ip": info(pycurl.LOCAL_IP) or "",
        "local_port": str(info(pycurl.LOCAL_PORT)),
        "num_connects": str(info(pycurl.NUM_CONNECTS)),
        "num_redirects": str(info(pycurl.REDIRECT_COUNT)),
        "redirect_url": info(pycurl.REDIRECT_URL) or "",
        "content_type": info(pycurl.CONTENT_TYPE) or "",
        "size_download": str(int(info(pycurl.SIZE_DOWNLOAD_T))),
        "size_header": str(info(pycurl.HEADER_SIZE)),
        "ssl_verify_result": str(info(pycurl.SSL_VERIFYRESULT)),
    }


def run(argv: Sequence[str], env: Mapping[str, str], out: BinaryIO, err: Callable[[str], None]) -> int:
    """All URLs, one after the other over the same connections; the exit code is the last one's."""
    try:
        options = parse(argv)
        if "help" in options.flags:
            known = sorted(f"--{name}" for name in LONG_FLAGS | LONG_VALUES)
            out.write(f"Usage: curl [options...] <url>\n{' '.join(known)}\n".encode())
            return 0
        if "version" in options.flags:
            out.write(f"curl {pycurl.version_info()[1]} (embedded lab) {pycurl.version}\n".encode())
            return 0
        urls = options.lists.get("url")
        if not urls:
            raise Usage("(2) no URL specified")
        return _all(urls, options, known_hosts(env), out, err)
    except Usage as wrong:
        err(f"curl: {wrong}")
        if wrong.code == USAGE:
            err("curl: try 'curl --help' for more information")
        return wrong.code


def _all(
    urls: list[str], options: Options, hosts: Mapping[str, str], out: BinaryIO, err: Callable[[str], None]
) -> int:
    curl, code = pycurl.Curl(), 0
    for number, url in enumerate(urls):
        curl.reset()
        setup(curl, options, url, hosts)
        files = options.lists.get("output", [])
        if number < len(files) and files[number] != "-":
            with Path(files[number]).open("wb") as file:
                done = perform(curl, options, file, err)
        else:
            done = perform(curl, options, out, err)
        code = done.code
        if code and not _quiet(options):
            err(f"curl: ({code}) {done.message}")
        if template := options.values.get("write-out"):
            out.write(written(template, facts(curl, url, done), done.headers).encode())
        out.flush()
        if code and "fail-early" in options.flags:
            break
    curl.close()
    return code


def main() -> None:
    """Run curl's command line."""
    sys.exit(run(sys.argv[1:], os.environ, sys.stdout.buffer, lambda line: print(line, file=sys.stderr)))


if __name__ == "__main__":
    main()
