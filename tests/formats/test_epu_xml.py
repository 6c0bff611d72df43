"""EPU's XML. The documents are made up, laid out as EPU lays them out: namespaces, prefixes, key-value lists, .NET's
times and numbers."""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thon.base.errors import FormatError, InputError
from thon.formats.epu_xml import EpuImage, read_epu_xml
from thon.formats.xml_tree import parse_xml

PAIR = (
    '<a:KeyValueOfstringanyType><a:Key>{}</a:Key><a:Value i:type="b:x" xmlns:b="urn:x">{}</a:Value>'
    "</a:KeyValueOfstringanyType>"
)
FRACTION = (
    "<c:DoseFractionDefinition xmlns:c='urn:y'><c:StartFrameNumber>{}</c:StartFrameNumber></c:DoseFractionDefinition>"
)
DOCUMENT = """<MicroscopeImage xmlns="http://schemas.datacontract.org/2004/07/Fei.SharedObjects" \
xmlns:i="http://www.w3.org/2001/XMLSchema-instance">
<name>Empty</name><uniqueID>45ed54ca-a609-476a-8616-000000000000</uniqueID>
<CustomData xmlns:a="http://schemas.microsoft.com/2003/10/Serialization/Arrays">{custom}</CustomData>
<SpatialScale><offset><x><numericValue>0</numericValue></x></offset><pixelSize>\
<x><numericValue>8.3E-11</numericValue><unit><_x003C_code_x003E_k__BackingField>m</_x003C_code_x003E_k__BackingField></unit></x>\
<y><numericValue>8.3E-11</numericValue></y></pixelSize></SpatialScale>
<microscopeData><acquisition><acquisitionDateTime>2024-01-02T10:11:12.7837911+01:00</acquisitionDateTime>
<camera><Binning xmlns:a="http://schemas.datacontract.org/2004/07/System.Drawing"><a:x>1</a:x><a:y>1</a:y></Binning>
<CameraSpecificInput xmlns:a="http://schemas.microsoft.com/2003/10/Serialization/Arrays">{camera}</CameraSpecificInput>
<ExposureTime>2.19</ExposureTime><Name>EF-CCD</Name>
<ReadoutArea xmlns:a="http://schemas.datacontract.org/2004/07/System.Drawing"><a:height>4092</a:height>\
<a:width>5760</a:width></ReadoutArea></camera><plateCamera><ExposureTime>0</ExposureTime></plateCamera></acquisition>
<gun><AccelerationVoltage>300000</AccelerationVoltage></gun>
<instrument><InstrumentID>3405</InstrumentID><InstrumentModel>TITAN1</InstrumentModel></instrument>
<optics><BeamShift xmlns:a="http://schemas.datacontract.org/2004/07/Fei.Types"><a:_x>0.0125</a:_x><a:_y>-0.25</a:_y></BeamShift>
<BeamTilt xmlns:a="http://schemas.datacontract.org/2004/07/Fei.Types"><a:_x>-0.5</a:_x><a:_y>0.75</a:_y></BeamTilt>
<EnergyFilter><EnergySelectionSlitInserted>{slit}</EnergySelectionSlitInserted>\
<EnergySelectionSlitWidth>20</EnergySelectionSlitWidth></EnergyFilter>
<ImageShift xmlns:a="http://schemas.datacontract.org/2004/07/Fei.Types"><a:_x>1E-07</a:_x><a:_y>-2E-07</a:_y></ImageShift>
<TemMagnification><Index>20</Index><NominalMagnification>105000</NominalMagnification></TemMagnification></optics>
<stage><Position><A>-0.52359877559829882</A><B>0</B><X>1.5E-05</X><Y>-2E-05</Y><Z>1E-06</Z></Position></stage>
</microscopeData></MicroscopeImage>"""
CUSTOM = {
    "Detectors[EF-CCD].TotalDose": "27.5",
    "Detectors[EF-CCD].CommercialName": "BioQuantum K3",
    "DoseOnCamera": "27.25",
    "Dose": "4.0E+21",
    "BinaryResult.Detector": "EF-CCD",
    "PhasePlateUsed": "false",
    "AppliedDefocus": "-1.2E-06",
}
CAMERA = {
    "ElectronCountingEnabled": "true",
    "SuperResolutionFactor": "2",
    "FractionationSettings": '<c:NumberOffractions xmlns:c="urn:y">40</c:NumberOffractions>',
}


def document(custom: dict[str, str], camera: dict[str, str], slit: str = "true") -> str:
    pairs = ["".join(PAIR.format(*pair) for pair in values.items()) for values in (custom, camera)]
    return DOCUMENT.format(custom=pairs[0], camera=pairs[1], slit=slit)


def read(tmp_path: Path, text: str, encoding: str = "utf-8") -> EpuImage:
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))
    return read_epu_xml(tmp_path / "a.xml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_epu_says(tmp_path: Path, encoding: str) -> None:
    found = read(tmp_path, document(CUSTOM, CAMERA), encoding)
    assert found.pixel_size == pytest.approx(0.83)
    assert found.voltage == 300
    assert found.exposure == pytest.approx(40)
    assert found.exposure_on_camera == 27.5
    assert found.exposure_time == 2.19
    assert found.frames == 40
    assert found.defocus == pytest.approx(12000)
    assert found.beam_shift == (-0.25, 0.0125)
    assert found.beam_tilt == (0.75, -0.5)
    assert found.image_shift == (-2e-7, 1e-7)
    assert found.phase_plate is False
    assert found.tilt == pytest.approx(-30)
    assert found.stage == pytest.approx((1e4, -2e5, 1.5e5))
    assert found.magnification == 105000
    assert found.energy_slit == 20
    assert found.counting is True
    assert (found.super_resolution, found.binning) == (2, 1)
    assert (found.detector, found.instrument) == ("BioQuantum K3", "TITAN1")
    assert found.time == datetime(2024, 1, 2, 10, 11, 12)


def test_other_versions(tmp_path: Path) -> None:
    # EPU 1: no detectors by name; Falcon 3: fractions one by one; a phase plate; settings of the camera in CustomData.
    falcon = "".join(FRACTION.format(k) for k in range(7))
    custom = {"DoseOnCamera": "2777.5", "Dose": "0", "PhasePlateUsed": "true", "SuperResolutionFactor": "1"}
    found = read(tmp_path, document(custom, {"FractionationSettings": falcon}, slit="false"))
    assert found.frames == 7
    assert found.exposure is None
    assert found.exposure_on_camera == 2777.5
    assert found.phase_plate is True
    assert found.super_resolution == 1
    assert found.counting is None
    assert found.defocus is None
    assert found.energy_slit is None
    assert found.detector == "EF-CCD"


def test_what_is_missing_is_none(tmp_path: Path) -> None:
    assert read(tmp_path, "<MicroscopeImage/>") == EpuImage()
    text = document({"AppliedDefocus": "NaN", "Dose": "many"}, {}).replace("300000", "INF").replace("2024-01-02", "?")
    found = read(tmp_path, text)
    assert (found.defocus, found.exposure, found.voltage, found.time) == (None, None, None, None)


BOMB = '<!DOCTYPE a [<!ENTITY b "ha">' + "".join(
    f'<!ENTITY b{k} "{"&b;" if not k else f"&b{k - 1};" * 10}">' for k in range(9)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{BOMB}]><MicroscopeImage>&b8;</MicroscopeImage>", "declares a document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><MicroscopeImage/>', "declares a document type"),
        ("<MicroscopeImage>", "not EPU's XML"),
        ("<MicroscopeImage>&undefined;</MicroscopeImage>", "not EPU's XML"),
        ("", "not EPU's XML"),
        ("<EpuSession/>", "not EPU's description"),
        ('<?xml version="1.0" encoding="klingon"?><MicroscopeImage/>', "not EPU's XML"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_what_is_refused(tmp_path: Path, text: str, message: str, encoding: str) -> None:
    with pytest.raises(FormatError, match=message):
        read(tmp_path, text, encoding)


def test_files_that_are_missing_or_huge(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_epu_xml(tmp_path / "missing.xml")
    with pytest.raises(FormatError, match="too large"):
        parse_xml(b" " * ((1 << 26) + 1), "a.xml")


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_is_an_error_of_ours_or_a_record(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(document(CUSTOM, CAMERA).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[at] = data.draw(st.integers(0, 255))
        else:
            del content[at : at + data.draw(st.integers(1, 80))]
    (tmp_path / "a.xml").write_bytes(content)
    with contextlib.suppress(FormatError):
        assert isinstance(read_epu_xml(tmp_path / "a.xml"), EpuImage)
