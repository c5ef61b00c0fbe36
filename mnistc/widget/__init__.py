"""The web widget: write it with a model in it, and look at it locally.

The JavaScript is in ``dist``, built from ``src`` by ``npm run build``; nothing here needs Node.
"""

from mnistc.widget.site import serve, write_site

__all__ = ["serve", "write_site"]
