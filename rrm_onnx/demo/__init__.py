"""The demo: text detection on a screen recording, dense and converted side by side. It needs the extra `demo`."""
