"""The store that a pull-through store pulls from: asked over HTTP, and checked in all that can be."""
