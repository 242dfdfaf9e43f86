"""The mesh, and how processes find each other. tests/training/test_devices.py trains on several devices."""

import jax
import numpy as np
import pytest

from cnn_zoo.errors import UserError
from cnn_zoo.training.mesh import check_batch, create_mesh, initialize_processes, platform, replicate, shard_batch

VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "TPU_WORKER_HOSTNAMES", "SLURM_STEP_NODELIST")
VARIABLES += ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")


@pytest.mark.parametrize(
  ("environment", "calls"),
  [
    ({}, []),
    (
      {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"},
      [{"num_processes": 4, "process_id": 3}],
    ),
    ({"TPU_WORKER_HOSTNAMES": "a"}, []),
    ({"TPU_WORKER_HOSTNAMES": "a,b"}, [{}]),
    ({"SLURM_NTASKS": "2"}, []),  # sbatch sets it, but starts one process
    ({"SLURM_STEP_NODELIST": "a", "SLURM_NTASKS": "2"}, [{}]),
    ({"OMPI_COMM_WORLD_SIZE": "1"}, []),
    ({"OMPI_COMM_WORLD_SIZE": "2"}, [{}]),
  ],
)
def test_processes_are_joined_where_there_are_several(environment, calls, monkeypatch):
  made = []
  monkeypatch.setattr(jax.distributed, "initialize", lambda **options: made.append(options))
  for name in VARIABLES:
    monkeypatch.delenv(name, raising=False)
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  initialize_processes()
  assert made == calls


def test_a_batch_that_does_not_divide_is_refused():
  mesh = create_mesh()
  check_batch(12 * mesh.size, 3, mesh)
  with pytest.raises(UserError) as error:
    check_batch(10 * mesh.size, 3, mesh)
  assert str(error.value) == (
    f"config.batch_size={10 * mesh.size} does not divide over {mesh.size} devices x config.accumulate=3; "
    f"valid: multiples of {3 * mesh.size}"
  )


def test_arrays_on_devices():
  mesh = create_mesh()
  rows = np.arange(8 * mesh.size)
  np.testing.assert_array_equal(shard_batch({"label": rows}, mesh)["label"], rows)
  same = replicate({"x": rows}, mesh)["x"]
  assert same.is_fully_replicated and same.sharding.mesh == mesh and platform(mesh) == jax.default_backend()
