"""What `facility keys rotate` does in the hub's pod: new keys into the Secret, then into use."""

import asyncio
import base64
import datetime
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facility import names
from facility.errors import FacilityError, HubError, ProblemsError, nearest
from facility.hub.kubernetes.release import FOLDER, SECRETS, crypt_keys
from facility.hub.kubernetes.revocation import Hub, quoted
from facility.hub.kubernetes.values.tenant_model import Installation
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import NAMESPACE, POD, SECRET
from facility.progress import Line
from facility.wording import counted

KEYS = {"crypt": "crypt-key", "proxy": "proxy-token", "cookie": "cookie-secret"}
"""Keys of the hub and what they are called in its Secret, in the order in which they are used: the
administration's own token follows from the last."""
MOUNTED_SECONDS = 240.0
"""Seconds in which a kubelet brings what is new of a Secret into a pod: it looks each minute."""
PROXY_SECONDS = 180.0
LOOK = 1.0


@dataclass
class Rotated:
    """What was done, and a sentence for each thing that was not."""

    done: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def asked_keys(words: Collection[str]) -> list[str]:
    """Return the keys that are asked for, in the order in which they are used.

    Raises
    ------
    ProblemsError
        With each word that is none.
    """
    wrong = [f"{word!r} is no key of the hub{nearest(word, KEYS)}" for word in words]
    wrong = [said for word, said in zip(words, wrong, strict=True) if word not in KEYS]
    if wrong:
        raise ProblemsError(f"The keys of the hub are {', '.join(sorted(KEYS))}", wrong)
    return [key for key in KEYS if key in words]


class Rotation:
    """One rotation of keys.

    Parameters
    ----------
    api
        With the hub's account.
    installation
        The release that the pod belongs to.
    hub
        That of this pod.
    folder
        Where the hub's Secret is mounted.
    """

    def __init__(
        self, api: Api, installation: Installation, hub: Hub, folder: Path = FOLDER / SECRETS
    ) -> None:
        self.api = api.within(installation.namespace)
        self.hub = hub
        self.folder = folder
        self.release = installation.release.name
        self.own = installation.values.hub.existing_secret is None
        self.secret = installation.values.hub.existing_secret or names.HUB_SECRET
        self.line = Line()

    async def run(self, keys: Collection[str]) -> Rotated:
        """Rotate keys; each goes on past what hangs with another.

        A Secret of the site is not written: what it holds is taken into use.

        Raises
        ------
        FacilityError
            Where the Secret cannot be written, or does not reach this pod: nothing is used then.
        """
        rotated = Rotated()
        try:
            if self.own:
                await self._wait_until_mounted(await self._write(keys))
            for key in asked_keys(keys):
                try:
                    rotated.done.append(await self._use(key, rotated))
                except FacilityError as error:
                    rotated.left.append(f"the {key} key: {error}. {self._advice()}")
        finally:
            await self.api.aclose()
        return rotated

    def _advice(self) -> str:
        words = f"kubectl -n {self.api.namespace} rollout restart deployment/hub deployment/proxy"
        return f"The Secret {self.secret} holds the new one; `{words}` takes it into use"

    # The Secret.

    async def _found(self) -> dict[str, Any]:
        found = await self.api.get(SECRET, self.secret)
        if found is None:
            raise FacilityError(
                f"The Secret {self.secret} is not in the namespace {self.api.namespace}. "
                "`helm upgrade` makes it anew, with all its keys; everybody logs in again then."
            )
        return found

    async def _write(self, keys: Collection[str]) -> dict[str, str]:
        found = await self._found()
        new = {KEYS[key]: secrets.token_hex(32) for key in keys}
        if "crypt" in keys:
            # What is encrypted can be read until all of it is written anew.
            new["crypt-key"] += f";{_text(found, 'crypt-key')}"
        await self._patch(found, new)
        return new

    async def _patch(self, found: Mapping[str, Any], new: Mapping[str, str]) -> None:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in new.items()}
        # Refused where somebody has changed it since.
        version = {"resourceVersion": found["metadata"].get("resourceVersion")}
        await self.api.patch(SECRET, self.secret, {"metadata": version, "data": data})

    async def _wait_until_mounted(self, new: Mapping[str, str]) -> None:
        began = time.monotonic()
        while any(_read(self.folder / key) != value for key, value in new.items()):
            waited = time.monotonic() - began
            if waited > MOUNTED_SECONDS:
                raise FacilityError(
                    f"The new keys did not reach the hub's pod in {waited:.0f} s, and are not in "
                    f"use. {self._advice()}."
                )
            if self.line.due():
                self.line.tell(f"the new keys are on their way to the hub's pod ({waited:.0f} s)")
            await asyncio.sleep(LOOK)
        self.line.end("the new keys are in the hub's pod")

    # The hub and its proxy.

    async def _use(self, key: str, rotated: Rotated) -> str:
        answer = await self._hub_uses(key)
        # An unused key in a Secret of the site is a mistake, except where the hub was restarted:
        # of a cookie secret what followed from the old one still has to end.
        if answer["already"] and not self.own and key != "cookie":
            raise FacilityError(
                f"the hub uses what stands in {self.secret} already, which hub.existingSecret "
                f"names: write a new {KEYS[key]} there first"
                + (", as NEW;OLD" if key == "crypt" else "")
            )
        if key == "crypt":
            return await self._after_crypt(answer, rotated)
        if key == "proxy":
            return await self._restart_proxy()
        sessions = counted(answer["sessions"], "session")
        return f"cookie: everybody is logged out ({sessions} at servers); all servers go on"

    async def _hub_uses(self, key: str, query: str = "") -> dict[str, Any]:
        answer = await asyncio.to_thread(self.hub.ask, "POST", f"keys/{key}{query}")
        if answer is None:
            raise HubError(f"The hub knows no key called {key}: it is of another release")
        return answer

    async def _after_crypt(self, answer: dict[str, Any], rotated: Rotated) -> str:
        unreadable = answer["unreadable"]
        if unreadable:
            shown = ", ".join(unreadable[:5])
            more = f" and {len(unreadable) - 5} more" if len(unreadable) > 5 else ""
            rotated.left.append(
                f"what the authenticator keeps of {shown}{more} is encrypted with a key that is "
                "lost; it is written anew when they log in"
            )
        written = f"what is kept of {counted(answer['written'], 'user')} is encrypted anew"
        if not self.own:
            return f"crypt: {written}; leave only the first key in {self.secret}"
        found = await self._found()
        await self._patch(found, {"crypt-key": crypt_keys(_text(found, "crypt-key"))[0]})
        return f"crypt: {written}; nothing ends"

    async def _restart_proxy(self) -> str:
        labels = {
            "app.kubernetes.io/instance": self.release,
            names.APP_COMPONENT_LABEL: names.PROXY_COMPONENT,
        }
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        old = {each["metadata"]["uid"] for each in await self._pods(selector)}
        for each in await self._pods(selector):
            await self.api.delete(POD, each["metadata"]["name"])
        began = time.monotonic()
        while not any(_is_ready(each, old) for each in await self._pods(selector)):
            waited = time.monotonic() - began
            if waited > PROXY_SECONDS:
                raise FacilityError(f"no new proxy was ready after {waited:.0f} s")
            if self.line.due():
                self.line.tell(f"the proxy starts with its new token ({waited:.0f} s)")
            await asyncio.sleep(LOOK)
        self.line.end("the proxy has its new token")
        await self._hub_uses("proxy", "?routes=1")
        return "proxy: it has started anew; open connections have ended, all servers go on"

    async def _pods(self, selector: str) -> list[dict[str, Any]]:
        return list((await self.api.list(POD, selector))["items"])


def _is_ready(pod: Mapping[str, Any], old: Collection[str]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and pod["metadata"]["uid"] not in old


def _text(secret: Mapping[str, Any], key: str) -> str:
    return base64.b64decode((secret.get("data") or {}).get(key, "")).decode().strip()


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        # The kubelet is changing the folder.
        return ""


# Users' certificate authorities.


async def renew_authorities(
    api: Api, spaces: Mapping[str, str], hub: Hub, now: datetime.datetime
) -> Rotated:
    """Have users' servers make new certificate authorities, now or when they start next.

    Parameters
    ----------
    spaces
        The namespace of each user.
    """
    rotated = Rotated()
    after = now.isoformat()
    try:
        for user, space in spaces.items():
            note = {names.AUTHORITY_ANNOTATION: after}
            try:
                await api.patch(NAMESPACE, space, {"metadata": {"annotations": note}})
                path = f"users/{quoted(user)}/authority"
                answer = await asyncio.to_thread(hub.ask, "POST", path, {"after": after})
            except FacilityError as error:
                rotated.left.append(f"{user}: {error}")
                continue
            rotated.left += (answer or {}).get("left", ())
            rotated.done.append(f"{user}: {_told(answer)}")
    finally:
        await api.aclose()
    return rotated


def _told(answer: dict[str, Any] | None) -> str:
    renewed = (answer or {}).get("renewed", ())
    if not renewed:
        return "the next server that starts makes a new authority"
    return f"a new authority is made in {counted(len(renewed), 'server')}, which goes on"
