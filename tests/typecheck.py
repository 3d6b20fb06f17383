"""The type checker that `conftest` puts behind the signatures of agents, memory and learner."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int will do for a float
