"""What `sync` may do when a reference moves, what becomes of that, and the table that remembers it."""

TELL, DEPLOY, SHADOW = POLICIES = ("tell", "deploy", "shadow")

NEW, TRYING, SETTLED = "new", "trying", "settled"
REFUSED, FAILED = "refused", "failed"

FOLLOWING = """CREATE TABLE sqlml.following (
    deployment VARCHAR NOT NULL,
    beside BOOLEAN NOT NULL,      -- false: what the deployment follows; true: what its shadows follow
    reference VARCHAR NOT NULL,   -- as a person gave it to deploy
    policy VARCHAR NOT NULL,      -- when it moves: tell, deploy, shadow
    number BIGINT,                -- the registered version that it meant when sync looked last
    model VARCHAR,                -- the logged model, or the run, of that
    state VARCHAR NOT NULL,       -- new, trying, settled, refused, failed
    version INTEGER,              -- the deployment version that it became
    missing VARCHAR,              -- what the registry no longer has, in a sentence
    problem VARCHAR,              -- why it was refused, or failed
    tries INTEGER NOT NULL,
    tried_at TIMESTAMP,
    tried_with VARCHAR            -- version of sqlml
)"""
