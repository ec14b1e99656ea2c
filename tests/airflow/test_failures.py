"""Which errors Airflow may retry, and which fail a task at once."""

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import AirflowFailException

from kraken_airflow.dag_parts.failures import may_pass, translated_failures
from kraken_recon import errors

MAY_PASS = {
    errors.ExchangeUnavailableError,
    errors.RateLimitedError,
    errors.NonceRejectedError,
    errors.NotNowError,
    errors.LockUnavailableError,
    errors.LockTimeoutError,
    errors.DeskUnreadableError,
    errors.StoreUnreachableError,
    errors.AccountsLeftError,
    errors.StoreError,
    errors.RunStoppedError,
    errors.OrderStuckError,
    errors.PlanNotWrittenError,
}
FINAL = {
    errors.KrakenReconError,
    errors.PlanRefusedError,
    errors.CertificateError,
    errors.ImportRefusedError,
    errors.ConfigurationError,
    errors.NotOnRecordError,
    errors.ClockOffError,
    errors.DirectConnectionNeededError,
    errors.DecisionRefusedError,
    errors.OrderFollowedError,
    errors.ExchangeError,
    errors.AuthenticationError,
    errors.RequestRefusedError,
    errors.PayloadInvalidError,
    errors.RightMissingError,
    errors.SchemaMismatchError,
    errors.ServerTooOldError,
    errors.TextRefusedError,
}


def test_every_error_of_the_core_is_decided_here() -> None:
    every = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.KrakenReconError)
    }
    assert every == MAY_PASS | FINAL


@pytest.mark.parametrize("kind", sorted(MAY_PASS, key=str))
def test_what_may_pass_is_left_to_the_retries(kind: type[errors.KrakenReconError]) -> None:
    assert may_pass(kind("busy"))
    with pytest.raises(kind, match="busy"), translated_failures():
        raise kind("busy")


@pytest.mark.parametrize("kind", sorted(FINAL, key=str))
def test_what_stays_fails_at_once_and_says_why(kind: type[errors.KrakenReconError]) -> None:
    message = f"{kind.__name__}: change the key"
    with pytest.raises(AirflowFailException, match=message) as caught, translated_failures():
        raise kind("change the key")
    assert isinstance(caught.value.__cause__, kind)


def test_a_defect_is_not_dressed_up() -> None:
    with pytest.raises(ZeroDivisionError), translated_failures():
        raise ZeroDivisionError
