"""Protect the page's one form: a signed token that only the page itself could have given to this user.

A browser sends Airflow's cookie along with a form of another site, but that site cannot read the page and
so does not know the token. It names its user, so that nobody's own token serves against somebody else.
"""

from __future__ import annotations

from typing import Final

from airflow.configuration import conf
from itsdangerous import BadData, URLSafeTimedSerializer

# A page may stay open over a night shift; its token dies with it.
AGE_SECONDS_MAX: Final = 12 * 3_600


def form_token(user_id: str) -> str:
    """Sign a user for the forms of a page."""
    return str(_signer().dumps(user_id))


def is_from_page(token: str, user_id: str) -> bool:
    """Say whether a page gave this token to this user, not too long ago."""
    try:
        return bool(_signer().loads(token, max_age=AGE_SECONDS_MAX) == user_id)
    except BadData:
        return False


def _signer() -> URLSafeTimedSerializer:
    # Every API server of a deployment shares this key.
    return URLSafeTimedSerializer(conf.get_mandatory_value("api", "secret_key"), salt="kraken-recon-forms")
