"""The video UNet."""
