"""What tables are declared with: a column's type follows from its annotation.

The SQL is written by hand, and migrations make the tables; these classes say what there is, and a
test compares both.
"""

import re
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, declared_attr, mapped_column

TextKey = Annotated[str, mapped_column(primary_key=True)]
IdKey = Annotated[UUID, mapped_column(primary_key=True)]
BigInt = Annotated[int, mapped_column(sa.BigInteger)]
SmallInt = Annotated[int, mapped_column(sa.SmallInteger)]
JsonObject = dict[str, Any]


class TableBase(DeclarativeBase):
    """A table is named as its class; each service has metadata of its own."""

    __abstract__ = True
    type_annotation_map = {  # noqa: RUF012
        str: sa.Text,
        datetime: sa.DateTime(timezone=True),
        list[str]: ARRAY(sa.Text),
        list[Any]: JSONB,
        JsonObject: JSONB,
    }

    @declared_attr.directive
    def __tablename__(cls) -> str:  # noqa: N805
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()


def partial_index(name: str, *columns: str, where: str, **options: Any) -> sa.Index:
    """An index of the rows for which a condition is true."""
    return sa.Index(name, *columns, postgresql_where=sa.text(where), **options)
