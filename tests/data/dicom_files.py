"""Write DICOM files field by field; a module that imports this is skipped without pydicom."""

import warnings

import pytest

pydicom = pytest.importorskip("pydicom")


def item(**fields):
    dataset = pydicom.Dataset()
    for name, value in fields.items():
        if value is not None:
            setattr(dataset, name, value)
    return dataset


def sequence(**fields):
    return pydicom.Sequence([item(**fields)])


def save_as(path, values, **fields):
    """Write stored values with the given fields; a field of None is left out."""
    color = values.ndim > 2 and values.shape[-1] == 3
    bits = values.dtype.itemsize * 8
    dataset = item(**{
        "SOPClassUID": pydicom.uid.CTImageStorage,
        "SeriesNumber": 2,
        "PatientID": "P1",
        "SamplesPerPixel": 3 if color else 1,
        "PlanarConfiguration": 0 if color else None,
        "PhotometricInterpretation": "RGB" if color else "MONOCHROME2",
        "NumberOfFrames": values.shape[0] if values.ndim - color > 2 else None,
        "Rows": values.shape[-3] if color else values.shape[-2],
        "Columns": values.shape[-2] if color else values.shape[-1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(values.dtype.kind == "i"),
        "PixelData": values.tobytes() + b"\0" * (values.nbytes % 2),
        **fields,
    })  # fmt: skip
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the way of pydicom 2 and 3 alike
        dataset.is_little_endian, dataset.is_implicit_VR = True, False
        dataset.save_as(path, write_like_original=False)
    return path
