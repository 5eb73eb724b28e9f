"""Settings of object storage: all faults at once, and nothing secret in what is handed on."""

from __future__ import annotations

import pytest

from penstock.errors import SettingsError
from penstock.settings import dump_settings, load_serve_settings, restore_settings
from penstock.storagesettings import StorageSettings


def test_it_is_off_until_buckets_are_named() -> None:
    assert not StorageSettings().is_on
    assert StorageSettings(buckets=" inbox, outbox,inbox ,").allowed == {"inbox", "outbox"}


def test_variables_are_read_and_survive_the_way_to_other_processes() -> None:
    settings = load_serve_settings(
        {
            "PENSTOCK_S3_ENDPOINT": "https://[::1]:9000",
            "PENSTOCK_S3_BUCKETS": "inbox",
            "PENSTOCK_S3_PATH_STYLE": "false",
            "PENSTOCK_S3_TIMEOUT": "1m",
            "PENSTOCK_S3_PART_SIZE": "5242880",
            "PENSTOCK_S3_SECRET_KEY": "hidden-value",
            "AWS_SECRET_ACCESS_KEY": "hidden-value",
        }
    )
    storage = settings.storage
    assert (storage.endpoint, storage.path_style, storage.timeout, storage.part_size) == (
        "https://[::1]:9000",
        False,
        60,
        5 << 20,
    )
    assert restore_settings(dump_settings(settings)) == settings
    assert "hidden-value" not in dump_settings(settings)


@pytest.mark.parametrize(
    ("variable", "value"),
    (
        ("ENDPOINT", "minio:9000"), ("ENDPOINT", "ftp://minio"), ("ENDPOINT", "http://user:hidden-value@minio"), ("ENDPOINT", "http://minio/path"),
        ("REGION", "a b"), ("BUCKETS", "Inbox"), ("BUCKETS", "ok-one,s3://inbox"), ("POLL", "not-allowed"), ("TIMEOUT", "0"),
        ("CONNECT_TIMEOUT", "0"), ("PART_SIZE", "5242879"), ("PART_SIZE", "5MiB"), ("PARALLEL_PARTS", "0"), ("PARALLEL_PARTS", "65"),
        ("POLL_INTERVAL", "0"), ("PATH_STYLE", "maybe"), ("POLL_EXISTING", "perhaps"), ("EVENTS_IN_FLIGHT", "0"),
        ("EVENTS_IN_FLIGHT", "1001"), ("EVENT_ATTEMPTS", "0"), ("EVENT_ATTEMPTS", "x"),
    ),
)  # fmt: skip
def test_what_cannot_be_used_is_refused_by_the_variables_name(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"PENSTOCK_S3_{variable}: ") as caught:
        load_serve_settings({f"PENSTOCK_S3_{variable}": value})
    assert "hidden-value" not in str(caught.value)


def test_all_faults_are_told_together() -> None:
    with pytest.raises(SettingsError) as caught:
        load_serve_settings({"PENSTOCK_S3_REGION": "?", "PENSTOCK_S3_BUCKETS": "A", "PENSTOCK_PORT": "x"})
    assert all(f"PENSTOCK_{name}: " in str(caught.value) for name in ("S3_REGION", "S3_BUCKETS", "PORT"))
