"""The user's certificate authority, as files."""

import datetime
import os
import stat
from pathlib import Path

import pytest
from cryptography import x509

from facility.errors import FacilityError
from facility.security.certificates import CERTIFICATE_DAYS, authority


def test_made_once_and_for_the_user_alone(tmp_path: Path):
    made = authority(tmp_path / "tls")
    files = (made.ca_file, made.ca_key, made.client_cert, made.client_key)
    before = [path.read_bytes() for path in files]
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600] * 4
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    authority(tmp_path / "tls")
    assert [path.read_bytes() for path in files] == before


def test_certificates_are_signed_by_the_authority(tmp_path: Path):
    made = authority(tmp_path / "tls")
    made.issue(tmp_path)
    ca = x509.load_pem_x509_certificate(made.ca_file.read_bytes())
    for path in (made.client_cert, tmp_path / "scheduler.pem", tmp_path / "worker.pem"):
        x509.load_pem_x509_certificate(path.read_bytes()).verify_directly_issued_by(ca)


def test_an_old_client_certificate_is_made_anew(tmp_path: Path):
    made = authority(tmp_path / "tls")
    before = made.client_cert.read_bytes(), made.ca_file.read_bytes()
    old = made.client_cert.stat().st_mtime - (CERTIFICATE_DAYS - 1) * 86400
    os.utime(made.client_cert, (old, old))
    authority(tmp_path / "tls")
    assert made.client_cert.read_bytes() != before[0]
    assert made.ca_file.read_bytes() == before[1]


def test_settings_for_other_processes(tmp_path: Path):
    made = authority(tmp_path / "tls")
    assert made.environment()["DASK_DISTRIBUTED__COMM__TLS__CA_FILE"] == str(made.ca_file)
    security = made.security()
    assert security.require_encryption
    assert security.tls_client_key == str(made.client_key)


def test_no_write_access(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(FacilityError, match=r"cannot be kept in .*set XDG_DATA_HOME"):
        authority(tmp_path / "file" / "tls")


def test_an_authority_from_before_a_time_is_made_anew_once(tmp_path: Path):
    made = authority(tmp_path / "tls")
    before = made.ca_file.read_bytes(), made.client_cert.read_bytes()
    authority(tmp_path / "tls", after=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    assert (made.ca_file.read_bytes(), made.client_cert.read_bytes()) == before
    # The clock of who asks may be ahead.
    after = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5)
    authority(tmp_path / "tls", after=after)
    new = made.ca_file.read_bytes(), made.client_cert.read_bytes()
    assert new[0] != before[0]
    ca = x509.load_pem_x509_certificate(new[0])
    x509.load_pem_x509_certificate(new[1]).verify_directly_issued_by(ca)
    authority(tmp_path / "tls", after=after)
    assert (made.ca_file.read_bytes(), made.client_cert.read_bytes()) == new
