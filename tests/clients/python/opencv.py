"""Plays a URL with OpenCV; writes a grey pixel of each bar of every picture."""

import os
import sys

url, shown, transport = sys.argv[1:]
if url.startswith("rtsp:"):
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"rtsp_transport;{transport}"

import cv2  # reads its environment when it is imported

capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
if not capture.isOpened():
    sys.exit("OpenCV does not open it")
with open(shown, "wb", buffering=0) as out:
    while True:
        is_read, picture = capture.read()
        if not is_read:
            sys.exit("OpenCV reads no further")
        line = picture[picture.shape[0] // 8]
        out.write(bytes(int(line[(2 * bar + 1) * len(line) // 32][1]) for bar in range(16)))
