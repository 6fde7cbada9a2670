"""Run in a container of the image without any GPU: CUDA's libraries load."""

import cupy
from cuda.pathfinder import load_nvidia_dynamic_lib

for name in ("nvrtc", "cublas", "curand", "cusolver", "cusparse", "cufft"):
    found = load_nvidia_dynamic_lib(name)
    assert found.abs_path.startswith("/opt/facility/"), found
assert cupy.cuda.runtime.runtimeGetVersion() >= 12000
print(f"analysis-gpu: cupy {cupy.__version__}, CUDA {cupy.cuda.runtime.runtimeGetVersion()}")
