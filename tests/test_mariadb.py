"""The MariaDB that other tests rely on."""

from __future__ import annotations

from tests.mariadb import MariaDB


def test_every_test_has_a_database_of_its_own_and_text_of_every_alphabet_survives(mariadb: MariaDB) -> None:
    import sqlalchemy

    answers = []
    for _ in range(2):
        engine = sqlalchemy.create_engine(mariadb.new_database())
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE t (x TEXT)"))
            connection.execute(sqlalchemy.text("INSERT INTO t VALUES (:x)"), {"x": "čaj 🍵"})
            answers.append(connection.execute(sqlalchemy.text("SELECT x FROM t")).scalars().all())
        engine.dispose()

    assert answers == [["čaj 🍵"], ["čaj 🍵"]]
