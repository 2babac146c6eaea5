"""A small Flask app whose eight workers start at once. `flask init-db` makes the tables; with INIT_ON_IMPORT=1 every
worker does, as many apps do it: it looks which tables there are, then creates the missing ones."""

import os
import sqlite3
import sys
import time

import click
from flask import Flask

DATABASE = os.environ.get("DATABASE", "/data/app.sqlite3")
app = Flask(__name__)


def create_all():
    """As an ORM does it: a look, then CREATE TABLE for what is missing."""
    with sqlite3.connect(DATABASE, timeout=5) as database:
        there = {row[0] for row in database.execute("SELECT name FROM sqlite_schema")}
        time.sleep(float(os.environ.get("LOOK_SECONDS", "0")))  # a slow machine's
        for table in ("user", "post", "comment"):
            if table not in there:
                database.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
                database.execute(f"INSERT INTO {table} (body) VALUES ('first')")


@app.cli.command("init-db")
def init_db():
    create_all()
    click.echo("tables made")


def tables():
    with sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True) as database:
        names = "SELECT count(*) FROM sqlite_schema WHERE name IN ('user', 'post', 'comment')"
        return database.execute(names).fetchone()[0]


@app.get("/healthz")
def process():
    return "ok\n"


@app.get("/health/live")
def live():
    return ("stuck\n", 500) if os.path.exists("/tmp/stuck") else "ok\n"


@app.get("/health/ready")
def ready():
    return "ok\n" if tables() == 3 else ("no tables\n", 503)


@app.get("/health")
def health():
    return "ok\n" if tables() == 3 and not os.path.exists("/tmp/degraded") else ("degraded\n", 503)


if os.environ.get("INIT_ON_IMPORT") == "1":
    create_all()
if "gunicorn" in sys.argv[0]:
    print("worker has the app", flush=True)
