"""Plays a URL with PyAV; writes a grey pixel of each bar of every picture, or the sound."""

import sys

import av

url, shown, transport = sys.argv[1:]
options = {"rtsp_transport": transport} if url.startswith("rtsp:") else {}
source = av.open(url, options=options)
with open(shown, "wb", buffering=0) as out:
    if source.streams.video:
        for picture in source.decode(video=0):
            plane = picture.reformat(format="gray").planes[0]
            line = memoryview(plane)[plane.height // 8 * plane.line_size :]
            out.write(bytes(line[(2 * bar + 1) * plane.width // 32] for bar in range(16)))
    else:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=48000)
        for frame in source.decode(audio=0):
            for part in resampler.resample(frame):
                out.write(bytes(part.planes[0])[: part.samples * 2])
sys.exit("PyAV reads no further")
