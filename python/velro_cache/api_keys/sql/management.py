"""Makes, changes and ends keys, each in one transaction."""

from collections.abc import Iterable
from typing import Final
from uuid import uuid4

from velro_cache.api_keys.digests import Peppers
from velro_cache.api_keys.key_format import KeyFormat, with_checksum
from velro_cache.api_keys.models import ApiKey, KeyLimits
from velro_cache.api_keys.sql import writing
from velro_cache.api_keys.sql.checks import (
    check_id,
    check_moment,
    check_new_id,
    check_scopes,
    check_text,
)
from velro_cache.api_keys.sql.database import Database
from velro_cache.api_keys.sql.imported import ImportedKey
from velro_cache.api_keys.sql.organizations import OrganizationManager
from velro_cache.api_keys.sql.reading import Clock
from velro_cache.api_keys.sql.secret_key import CreatedKey, SecretKey
from velro_cache.exceptions import ConfigError, KeyConflict

__all__ = ["KeyManager"]

_LONGEST_OVERLAP_SECONDS: Final = 366 * 86_400.0
_MOST_IMPORTED: Final = 1000
_LONGEST_PLAN: Final = 64


class KeyManager(OrganizationManager):
    """Makes, changes and ends keys, and manages organizations.

    Every method is one transaction: it happens, with its invalidation, or it does not.

    Args:
        database: Where they are.
        key_format: What new keys look like.
        peppers: Under which new keys are digested. None: no keys are made.
        outbox_name: Name of the cache into whose outbox invalidations are written. None: into none.
        clock: Tells seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        key_format: KeyFormat,
        peppers: Peppers | None,
        outbox_name: str | None,
        clock: Clock,
    ) -> None:
        super().__init__(database, outbox_name, clock)
        self._key_format = key_format
        self._peppers = peppers

    async def create_key(
        self,
        organization_id: str,
        *,
        scopes: Iterable[str] = (),
        name: str = "",
        expires_at: float | None = None,
        environment: str | None = None,
        key_id: str | None = None,
        limits: KeyLimits | None = None,
    ) -> CreatedKey:
        """Make a key.

        Args:
            organization_id: Whose it is.
            scopes: What it is good for; at most 256.
            name: What people call it; at most 200 characters.
            expires_at: From when on it is not good any more, in seconds since 1970. None: it does
                not expire.
            environment: Where it is for; None: as the key format says.
            key_id: Names the key; None: a random UUID.
            limits: Of this key. None: no limits of its own.

        Returns:
            The key, and this once its plain text.

        Raises:
            OrganizationNotFound: There is none.
            KeyConflict: The id is taken.
            InvalidKeyError: An id cannot be one.
            ValueError: An argument is out of range.
            ConfigError: There are no peppers, or the environment is none.
        """
        now = self._clock()
        check_id(organization_id)
        values: dict[str, object] = {
            "id": str(uuid4()) if key_id is None else check_new_id(key_id),
            "organization_id": organization_id,
            "name": check_text("name", name),
            "scopes": check_scopes(scopes),
            "expires_at": _in_the_future("expires_at", expires_at, now),
        }
        made, plain = self._generated(environment, now)
        values |= made
        new_id = str(values["id"])
        async with self.changing([f"api_key:{new_id}"]) as connection:
            await writing.add_keys(connection, [values])
            if limits is not None:
                await writing.write_limits(connection, organization_id, new_id, limits, now)
            key = await writing.read_key(connection, new_id)
        return CreatedKey(key=key, plain=plain)

    async def rotate_key(self, key_id: str, *, overlap_seconds: float = 0.0) -> CreatedKey:
        """Make a key in the place of another one, which ends a while later.

        The new key has organization, name, scopes and limits of the old one, and lives as long
        from now on as the old one was to live when it was made.

        Args:
            key_id: Names the old one.
            overlap_seconds: How long both are good; 0 to 366 days. An old one that ends sooner
                still does.

        Returns:
            The new key, and this once its plain text.

        Raises:
            KeyNotFound: There is none.
            KeyConflict: It was rotated already, or it is revoked, expired or switched off.
            ValueError: The time is out of range.
            ConfigError: There are no peppers.

        Consistency: of several who rotate one key at once, one does, and the others hear of it.
        """
        check_id(key_id)
        is_number = isinstance(overlap_seconds, (int, float))
        if not is_number or not 0 <= overlap_seconds <= _LONGEST_OVERLAP_SECONDS:
            raise ValueError("overlap_seconds must be a number from 0 to 366 days")
        new_id = str(uuid4())
        async with self.changing([f"api_key:{key_id}", f"api_key:{new_id}"]) as connection:
            row = await writing.locked_key(connection, key_id)
            now = self._clock()
            old = await writing.read_key(connection, key_id)
            if row.replaced_by is not None:
                raise KeyConflict(f"the API key {key_id!r:.80} was rotated already")
            if not row.is_active or row.revoked_at is not None or _is_past(row.expires_at, now):
                raise KeyConflict(f"the API key {key_id!r:.80} is revoked, expired or switched off")
            ends = old.expires_at
            made, plain = self._generated(self._environment_of(old.shown), now)
            values = made | {
                "id": new_id,
                "organization_id": old.organization_id,
                "name": old.name,
                "scopes": old.scopes,
                "expires_at": None if ends is None else now + max(ends - old.created_at, 1.0),
            }
            await writing.add_keys(connection, [values])
            if old.key_limits is not None:
                await writing.write_limits(
                    connection, old.organization_id, new_id, old.key_limits, now
                )
            last = now + overlap_seconds
            await writing.change_key(
                connection,
                key_id,
                now,
                expires_at=last if ends is None else min(ends, last),
                replaced_by=new_id,
            )
            key = await writing.read_key(connection, new_id)
        return CreatedKey(key=key, plain=plain)

    async def revoke_key(self, key_id: str) -> ApiKey:
        """End a key for good. To do so again changes nothing.

        Args:
            key_id: Names the key.

        Returns:
            The key as it is now.

        Raises:
            KeyNotFound: There is none.
            AuthorizationUnavailable: What is there is no key; it is revoked now.
        """
        check_id(key_id)
        # Told again where it was revoked before: whoever asks again may know why.
        async with self.changing([f"api_key:{key_id}"]) as connection:
            row = await writing.locked_key(connection, key_id)
            if row.revoked_at is None:
                now = self._clock()
                await writing.change_key(connection, key_id, now, revoked_at=now)
        return await self._read(key_id)

    async def expire_key(self, key_id: str, at: float) -> ApiKey:
        """Say when a key ends, sooner or later than it would have.

        Args:
            key_id: Names the key.
            at: Seconds since 1970; may be past.

        Returns:
            The key as it is now.

        Raises:
            KeyNotFound: There is none.
            KeyConflict: It has ended; nothing gives it a new life.
            ValueError: The moment is none.
        """
        check_id(key_id)
        moment = check_moment("at", at)
        async with self.changing([f"api_key:{key_id}"]) as connection:
            row = await writing.locked_key(connection, key_id)
            now = self._clock()
            if row.revoked_at is not None or (_is_past(row.expires_at, now) and moment > now):
                raise KeyConflict(f"the API key {key_id!r:.80} has ended already")
            await writing.change_key(connection, key_id, now, expires_at=moment)
        return await self._read(key_id)

    async def import_key(self, key: ImportedKey) -> ApiKey:
        """Take in a key of another system, by its digest.

        Args:
            key: The digest, and what is known of the key.

        Returns:
            The key as it is now.

        Raises:
            OrganizationNotFound: Its organization is not there.
            KeyConflict: Its id is taken, or its digest is there already.
            ConfigError: The peppers at hand would never find it.
            ValueError: What is shown of it is the key itself.
        """
        (new_id,) = await self._import([key], skip_existing=False)
        return await self._read(new_id)

    async def import_keys(self, keys: Iterable[ImportedKey]) -> int:
        """Take in many keys of another system, all or none; those that are there are passed over.

        Args:
            keys: At most 1000.

        Returns:
            How many were not there.

        Raises:
            OrganizationNotFound: One of the organizations is not there.
            KeyConflict: An id is taken by another key.
            ConfigError: The peppers at hand would never find one of them.
            ValueError: They are too many, or what is shown of one is the key itself.
        """
        return len(await self._import(list(keys), skip_existing=True))

    # Parts.

    async def _read(self, key_id: str) -> ApiKey:
        """A key after it was changed: what is no key has been changed all the same."""
        async with self._database.reading() as connection:
            return await writing.read_key(connection, key_id)

    async def _import(self, keys: list[ImportedKey], *, skip_existing: bool) -> list[str]:
        if len(keys) > _MOST_IMPORTED:
            raise ValueError(f"at most {_MOST_IMPORTED} keys are imported at once")
        for key in keys:
            if self._peppers is None or self._peppers.digest_under(key.pepper_id, "") is None:
                raise ConfigError(
                    f"the peppers at hand do not know {key.pepper_id!r:.40}: a key under it would"
                    " never be found (for plain SHA-256: accept_plain_sha256=True)"
                )
            self._refuse_shown_secret(self._peppers, key)
        now = self._clock()
        rows = [key.columns(now) for key in keys]
        tags = [f"api_key:{row['id']}" for row in rows]
        async with self.changing(tags) as connection:
            return await writing.add_keys(connection, rows, skip_existing=skip_existing)

    def _refuse_shown_secret(self, peppers: Peppers, key: ImportedKey) -> None:
        """Refuse a key whose beginning, which everybody is shown, is all of it."""
        texts = [key.shown]
        if key.shown.isascii():
            texts.append(with_checksum(key.shown))
        if any(peppers.digest_under(key.pepper_id, text) == key.digest for text in texts):
            raise ValueError("shown is the key itself; it is to be the first characters of it")

    def _generated(
        self, environment: str | None, now: float
    ) -> tuple[dict[str, object], SecretKey]:
        if self._peppers is None:
            raise ConfigError("keys are made with peppers=..., and there are none")
        made = self._key_format
        if environment is not None:
            made = KeyFormat(prefix=made.prefix, environment=environment)
        text = made.generate()
        pepper_id, digest = self._peppers.digest(text)
        columns: dict[str, object] = {
            "key_digest": digest,
            "pepper_id": pepper_id,
            "shown": made.shown(text),
            "is_active": True,
            "created_at": now,
            "updated_at": now,
        }
        return columns, SecretKey(text)

    def _environment_of(self, shown: str) -> str | None:
        """Where a key is for; None where it does not say, such as an imported one."""
        parts = shown.split("_")
        return parts[1] if len(parts) == 3 and parts[0] == self._key_format.prefix else None


def _is_past(moment: float | None, now: float) -> bool:
    return moment is not None and moment <= now


def _in_the_future(name: str, moment: float | None, now: float) -> float | None:
    if moment is None:
        return None
    if check_moment(name, moment) <= now:
        raise ValueError(f"{name} is past already")
    return float(moment)
