"""What flashinfer-bench needs besides definitions: workloads and baseline solutions."""
