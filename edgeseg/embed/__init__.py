"""Kits: folders that carry a bundle's network into an application.

A surface is where a network is embedded: a web page, a C++ program, an Android or iOS app, a
Jetson. Each surface is a file of this folder, with what it writes in `sources/NAME/`.
"""

from __future__ import annotations

from ..registry import Registry
from .surface import Surface

SURFACES = Registry(
    "surface",
    {
        "web": "edgeseg.embed.web:WebSurface",
        "cpp": "edgeseg.embed.cpp:CppSurface",
        "android": "edgeseg.embed.phones.android:AndroidSurface",
        "ios": "edgeseg.embed.phones.ios:IosSurface",
        "jetson": "edgeseg.embed.jetson:JetsonSurface",
    },
    "edgeseg.surfaces",
)


def find_surface(name: str) -> Surface:
    """Make the surface of that name.

    Raises:
        UnknownNameError: There is none.
    """
    found: type[Surface] = SURFACES.find(name)
    return found()
