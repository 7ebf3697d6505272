"""Organizations, keys, limits, last uses.

Written out, and not taken from ``tables.py``: what a step did must not change with later versions.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from velro_cache.api_keys.sql.tables import Now

revision = "api_keys_0001"
down_revision = None
branch_labels = None
depends_on = None


def _moment(name: str) -> "sa.Column[float]":
    return sa.Column(name, sa.Double(), server_default=Now(), nullable=False)


def _index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition: dict[str, Any] = {
        "postgresql_where": sa.text(where),
        "sqlite_where": sa.text(where),
    }
    op.create_index(name, table, columns, unique=unique, **condition)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "organizations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("plan", sa.Text(), server_default="", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        _moment("created_at"),
        _moment("updated_at"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("key_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("pepper_id", sa.Text(), nullable=False),
        sa.Column("shown", sa.Text(), server_default="", nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), server_default="[]", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        _moment("created_at"),
        _moment("updated_at"),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("replaced_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key_digest"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            name="api_keys_organization",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["replaced_by"], ["api_keys.id"], name="api_keys_replaced_by", ondelete="SET NULL"
        ),
        sa.CheckConstraint("length(key_digest) = 32", name="api_keys_digest_length"),
    )
    _index("api_keys_live", "api_keys", ["id"], "is_active AND revoked_at IS NULL")
    op.create_index("api_keys_updated_at", "api_keys", ["updated_at"])
    op.create_index("api_keys_of_organization", "api_keys", ["organization_id", "id"])
    _index("api_keys_replaced", "api_keys", ["replaced_by"], "replaced_by IS NOT NULL")
    op.create_table(
        "rate_limit_configs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("requests_per_minute", sa.Integer(), server_default="60", nullable=True),
        sa.Column("requests_per_day", sa.Integer(), server_default="10000", nullable=True),
        sa.Column("burst_size", sa.Integer(), server_default="10", nullable=False),
        _moment("updated_at"),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.id"],
            name="rate_limits_organization",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name="rate_limits_key", ondelete="CASCADE"
        ),
        sa.CheckConstraint("requests_per_minute >= 1", name="rate_limits_per_minute"),
        sa.CheckConstraint("requests_per_day >= 1", name="rate_limits_per_day"),
        sa.CheckConstraint("burst_size >= 0", name="rate_limits_burst"),
    )
    limits = "rate_limit_configs"
    of_organization = "rate_limits_of_organization"
    _index(of_organization, limits, ["organization_id"], "key_id IS NULL", unique=True)
    _index("rate_limits_of_key", limits, ["key_id"], "key_id IS NOT NULL", unique=True)
    op.create_index("rate_limits_updated_at", limits, ["updated_at"])
    op.create_table(
        "api_key_last_used",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("last_used_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name="last_used_key", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    """Drop the tables, with all that is in them."""
    for table in ("api_key_last_used", "rate_limit_configs", "api_keys", "organizations"):
        op.drop_table(table)
