"""CURVE keys for one run: a pair of its learner and one of all its clients, each with what it may know."""

from typing import NamedTuple

from protocol.channel.keys import ALLOWED, LEARNER, LOCAL_ACTOR, new_pair, secret_text


class RunKeys(NamedTuple):
    """Key files by their names in a folder of keys."""

    learner: dict[str, str]
    client: dict[str, str]


def make_run_keys() -> RunKeys:
    """New keys, known to nobody else."""
    learner, client = new_pair(), new_pair()
    return RunKeys(
        learner={
            f"{LEARNER}.secret": secret_text(learner),
            f"{ALLOWED}/{LOCAL_ACTOR}.public": f"{client.public}\n",
        },
        client={
            f"{LEARNER}.public": f"{learner.public}\n",
            f"{LOCAL_ACTOR}.secret": secret_text(client),
        },
    )
