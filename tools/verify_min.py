"""A second, small verifier of sealed logs: docs/spec/sealed-log.md in one page, for unkeyed and HMAC-SHA256 streams.

    python tools/verify_min.py PATH [--key KID:HEX]...      PATH: a log folder, or one file of it

Prints `CODE FILE:LINE seq=N` for each finding, then the outcome; exits with 0 intact, 1 tampered, 3 undetermined.
Other algorithms are `key-unknown`; zstd, overlapping segments and manifests of other names are `unreadable`: noticed,
not checked, never intact. Not looked at: late seals, `others`, exports, notes, and document members without a use here.
For one file, its manifest is looked at and no head.
"""

import base64
import hashlib
import hmac
import json
import re
import sys
import zlib
from pathlib import Path

UNDETERMINED = {"key-unknown", "unkeyed", "torn-tail", "version-unknown", "unreadable", "empty"}
VERSIONS = {"v": 1, "version": "1.0", "integrity_version": "1.0"}
BLOCK = re.compile(
    rb'"integrity":\{"v":([1-9]\d{0,15}),"stream":"([^\0-\x20"\\+%\x7f]+)","seq":([1-9]\d{0,15}),'
    rb'"prev_chain_hash":"([\w-]{43})","chain_hash":"([\w-]{43})","algo":"([A-Za-z0-9-]+)"'
    rb'(?:,"key_id":"([^\0-\x20"\\+%\x7f]+)")?(?:,"mac":"([\w-]+)")?\}\}'
)


def sha256(data):
    return hashlib.sha256(data).digest()


def b64(raw):
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def unb64(text):
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64(raw) != text:
        raise ValueError("not strict base64url")
    return raw


def canonical(document):
    return json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def split(line):
    """Payload, and v, stream, seq, prev, chain, algo, key_id, mac of a line; ValueError if it is no sealed line."""
    start = line.rfind(b'"integrity":{"v":')
    block = BLOCK.fullmatch(line, start) if start > 0 else None
    if block is None or not re.fullmatch(rb'\{([ \t]*"[^\r]*,)?', line[:start]):
        raise ValueError("no integrity block behind the beginning of a JSON object")
    v, stream, seq, prev, chain, algo, key_id, mac = (part and part.decode() for part in block.groups())
    unb64(prev), unb64(chain)
    fits = mac is None or (key_id and len(unb64(mac)) == {"HMAC-SHA256": 32, "Ed25519": 64}.get(algo, len(unb64(mac))))
    if (algo == "SHA-256") == bool(key_id) or not fits or max(int(v), int(seq)) >= 2**53:
        raise ValueError("values that do not go together")
    return (line[: start - 1] or b"{") + b"}", int(v), stream, int(seq), prev, chain, algo, key_id, mac


def chain_hash(payload, stream, seq, prev, key_id):
    names = b"".join(len(name).to_bytes(2, "big") + name for name in (stream.encode(), (key_id or "").encode()))
    link = names + seq.to_bytes(8, "big") + unb64(prev) + sha256(b"\0" + payload)
    return sha256(b"fapilog-tamper/v1/link\0" + link)


def flaw(line):
    """The code of a line that cannot be split."""
    try:
        found = json.loads(line)
        if "integrity" not in found and isinstance(found, dict):
            return "integrity-missing"
        return "version-unknown" if found["integrity"]["v"] > 1 else "line-malformed"
    except (ValueError, LookupError, TypeError, RecursionError):
        return "line-malformed"


def torn_at(data):
    """Where a tail that a crash can leave begins: no newline, blank lines at the end, a hole up to a block's end."""
    tail = re.search(rb"(?:^|(?<=\n))(?:\n+|[^\n]+)\Z", data)
    holes = [data.rfind(b"\n", 0, hole.start()) + 1 for hole in re.finditer(rb"\0+", data) if hole.end() % 512 == 0]
    return min([tail.start() if tail else len(data), *holes[:1]])


class Verifier:
    def __init__(self, keys):
        self.keys = keys
        self.findings = []  # (code, text, key id whose tag failed)
        self.good, self.unknown = set(), set()  # key ids
        self.ends = {}  # stream: (seq, chain, keyed) of its last entry
        self.chains = {}  # (stream, seq): chain
        self.missed, self.unread = 0, False

    def report(self, code, file, line="-", seq="-", key_id=None):
        self.unread = self.unread or code == "unreadable"
        if self.unread and code in {"segment-missing", "rollback"}:
            code = "unreadable"  # what is missing may stand in what was not read
        self.findings.append((code, f"{code} {file}:{line} seq={seq}", key_id))

    def tag_code(self, domain, message, algo, key_id, tag, failed):
        """None where a tag holds, else the code of what is wrong with it."""
        if key_id not in self.keys:
            self.unknown.add(key_id)
            return "key-unknown"
        if algo != "HMAC-SHA256" or tag is None:
            return "mac-missing" if algo == "HMAC-SHA256" else "algo-mismatch"
        made = hmac.digest(self.keys[key_id], b"fapilog-tamper/v1/" + domain + b"\0" + message, "sha256")
        if hmac.compare_digest(made, unb64(tag)):
            self.good.add(key_id)
            return None
        return failed

    def document(self, path, domain, tag):
        """A head or manifest whose tag holds or cannot be judged, else None and a finding."""
        try:
            raw = path.read_bytes()
            document = json.loads(raw)
            if canonical(document) + b"\n" != raw or document["first_seq"] < 1 or not unb64(document["origin"]):
                raise ValueError("not canonical")
            versions = [document.get(name, known) for name, known in VERSIONS.items()]
            if versions != list(VERSIONS.values()):
                return self.report("version-unknown", path.name)
            key_id = document.get("signature_key_id", document.get("key_id"))
            signed = sha256(canonical({name: value for name, value in document.items() if name != tag}))
            algo = document.get("signature_algo", document["algo"])
            code = key_id and self.tag_code(domain, signed, algo, key_id, document.get(tag), f"{domain.decode()}-{tag}")
        except (ValueError, LookupError, TypeError, RecursionError):
            return self.report(f"{domain.decode()}-malformed", path.name)
        if code in {None, "key-unknown"}:
            return document
        return self.report(f"{domain.decode()}-{tag}", path.name, key_id=key_id if "-" + tag in code else None)

    def segment(self, path, data, manifest, claimed):
        """Its lines in order; for each the first check that fails names the finding."""
        torn = torn_at(data) if manifest is None else len(data)
        lines = data[:torn].split(b"\n")
        rest, entries, first = lines.pop() + data[torn:], 0, None
        for number, line in enumerate(lines, 1):
            try:
                payload, v, stream, seq, prev, chain, algo, key_id, mac = split(line)
            except ValueError:
                self.report(flaw(line), path.name, number)
                self.missed += 1
                continue
            first = first or (stream, seq, prev)
            last_seq, last_chain, keyed = self.ends.get(first[0], (seq - 1, prev if seq > 1 else "A" * 43, False))
            if entries == 0 and seq <= last_seq:
                return self.report("unreadable", path.name, number, seq)
            if self.missed and seq == last_seq + 1 + self.missed:
                last_seq, last_chain = seq - 1, prev
            checks = {
                "version-unknown": v != 1,
                "stream-changed": stream != first[0],
                "segment-missing" if entries == 0 else "seq-gap": seq > last_seq + 1,
                "seq-repeat": seq == last_seq,
                "seq-regress": seq < last_seq,
                "link-broken": prev != last_chain,
                "payload-changed": chain_hash(payload, stream, seq, prev, key_id) != unb64(chain),
                "mac-missing": keyed and not key_id,
            }
            code = next((code for code, failed in checks.items() if failed), None)
            if code is None and key_id:
                code = self.tag_code(b"mac", unb64(chain), algo, key_id, mac, "mac-invalid")
            if code not in {None, "key-unknown"}:
                self.report(code, path.name, number, seq, key_id if code == "mac-invalid" else None)
            if code != "stream-changed":
                self.ends[stream] = seq, chain, keyed or bool(key_id)
                self.chains[stream, seq] = chain
                entries, self.missed, last = entries + 1, 0, (seq, chain, algo, key_id)
        if rest:
            reached = self.ends.get(first[0], (0,))[0] if first else 0
            self.report(
                "torn-tail" if manifest is None and reached >= claimed else "line-malformed", path.name, len(lines) + 1
            )
        if manifest is not None:
            said = [manifest.get(name) for name in ("stream", "first_seq", "continues_from")]
            said += [manifest.get(name) for name in ("last_seq", "root_chain_hash", "algo", "key_id", "record_count")]
            found = [*(first or ()), *(last if first else ()), entries]
            if said != found or (manifest["size_bytes"], manifest["file_sha256"]) != (len(data), b64(sha256(data))):
                self.report("manifest-mismatch", path.name)

    def run(self, path):
        names = sorted(path.iterdir()) if path.is_dir() else [path]
        segments = [p for p in names if not path.is_dir() or re.search(r"\.jsonl(\.gz|\.zst)?\Z", p.name)]
        state = sorted((path / ".fapilog").glob("*.chainstate")) if path.is_dir() else []
        heads = [head for p in state if (head := self.document(p, b"head", "mac"))]
        claimed = max((head["seq"] for head in heads), default=0)
        work = []
        for p in segments:
            data = self.read(p)
            beside = p.with_name(re.sub(r"\.(gz|zst)\Z", "", p.name) + ".manifest.json")
            manifest = self.document(beside, b"manifest", "signature") if beside.exists() else None
            block = BLOCK.search(data)
            if data:
                work.append(((block[2], int(block[3])) if block else (b"", 0), p, data, manifest))
        for _, p, data, manifest in sorted(work, key=lambda item: item[:2]):
            self.segment(p, data, manifest, claimed)
        for p in names:
            left = p.name.endswith(".manifest.json") and not any(p.name[:-14] in q.name for _, q, *_ in work)
            if left and (document := self.document(p, b"manifest", "signature")):
                there = (document["stream"], document["last_seq"]) in self.chains
                self.report("unreadable" if there else "segment-missing", p.name)
        for head in heads:
            self.claim(head)
        return self.outcome(path)

    def read(self, path):
        """The bytes of a segment, unpacked; b"" and a finding where that cannot be done here."""
        try:
            data = path.read_bytes()
            if data.startswith(b"\x1f\x8b"):
                gzip = zlib.decompressobj(31)
                data = gzip.decompress(data, 2**30)
                if not gzip.eof or gzip.unused_data:
                    self.report("line-malformed" if gzip.eof else "unreadable", path.name)
                    return b""
            if data.startswith(b"\x28\xb5\x2f\xfd"):
                data = self.report("unreadable", path.name)
        except (OSError, zlib.error):
            data = self.report("unreadable", path.name)
        return data or b""

    def claim(self, head):
        """What a head says of its stream."""
        stream, seq = head["stream"], head["seq"]
        here = [known for name, known in self.chains if name == stream]
        if self.ends.get(stream, (0,))[0] < seq or min(here) > head["first_seq"]:
            self.report("segment-missing", stream, seq=seq)
        elif self.chains.get((stream, seq)) not in {None, head["prev_chain_hash"]}:
            self.report("rollback", stream, seq=seq)
        elif self.chains.get((stream, 1), head["origin"]) != head["origin"]:
            self.report("rollback", stream, seq=1)

    def outcome(self, path):
        """Wrong keys told from wrong tags, then the gravest code."""
        wrong = {key_id for _, _, key_id in self.findings if key_id} - self.good
        self.findings = [finding for finding in self.findings if finding[2] not in wrong]
        for key_id in wrong | self.unknown:
            self.report("key-unknown", key_id)
        for stream, (seq, _, keyed) in self.ends.items():
            if self.keys and not keyed:
                self.report("unkeyed", stream, seq=seq)
        if not self.findings and not self.ends:
            self.report("empty", path.name)
        codes = {code for code, _, _ in self.findings}
        return "tampered" if codes - UNDETERMINED else "undetermined" if codes else "intact"


def main(arguments):
    try:
        path, *options = arguments
        pairs = [option.split(":") for option in options if option != "--key"]
        verifier = Verifier({key_id: bytes.fromhex(secret) for key_id, secret in pairs})
    except ValueError:
        print(__doc__, file=sys.stderr)
        return 2
    outcome = verifier.run(Path(path))
    print(*(text for _, text, _ in verifier.findings), outcome, sep="\n")
    return {"intact": 0, "tampered": 1, "undetermined": 3}[outcome]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
