"""Whose rights a connection to the database has, which setting names that role, and what to do where it may not."""

from typing import NamedTuple

from login_pipeline.errors import ConfigurationError
from login_pipeline.settings import SettingName, Settings, variable

_RUN: SettingName = "database_url"
_MAINTENANCE: SettingName = "maintenance_database_url"


class Access(NamedTuple):
    """Which database role to connect as: the run's, or the maintenance role's (DDL, UPDATE, DELETE)."""

    setting: SettingName
    maintenance: bool

    @classmethod
    def from_settings(cls, settings: Settings, *, maintenance: bool) -> "Access":
        """By LOGIN_MAINTENANCE_DATABASE_URL for maintenance, where it is set; else by LOGIN_DATABASE_URL."""
        apart = maintenance and settings.maintenance_database_url is not None
        return cls(_MAINTENANCE if apart else _RUN, maintenance)

    @property
    def password_setting(self) -> SettingName:
        """The setting that names where the password of that URL is."""
        return "maintenance_database_password_source" if self.setting == _MAINTENANCE else "database_password_source"

    @property
    def variable(self) -> str:
        """The environment variable whose URL is used: what a sentence about the database names."""
        return variable(self.setting)

    def lacks(self, rights: str) -> ConfigurationError:
        """The error where the role lacks `rights`."""
        return ConfigurationError(f"The role in {self.variable} lacks {rights}; {self._remedy()}")

    def may_not_create(self, tables: str) -> ConfigurationError:
        """The error where `tables` are not there and the role may not create them."""
        return ConfigurationError(
            f"The database in {self.variable} has no {tables}, which its role may not create; {self._remedy()}"
        )

    def unfit(self, what: str) -> ConfigurationError:
        """The error where the database is not one that a load can lean on; `what` says what it does or does not."""
        return ConfigurationError(
            f"The database in {self.variable} {what}; docs/databases.md says what a load leans on and which databases "
            "have it"
        )

    def _remedy(self) -> str:
        owner = variable(_MAINTENANCE)
        if self.maintenance:
            return f"name the tables' owner in {owner}; deploy/postgres/roles.sql makes one"
        return f"run `login-pipeline prepare` as the tables' owner, whom {owner} names"
