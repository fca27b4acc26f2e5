"""Exchange streams to ticks and bars: frames in, `ticks` out, every frame accounted for."""
