"""How the process of a command ends."""

import time

import pytest

from tests.helpers import runner


@pytest.mark.parametrize(
  ("end", "code", "says"),
  [
    ("", 0, ""),
    ("raise UserError('no paper')", 2, "error: no paper"),
    ("sys.exit('error: no ink')", 1, "error: no ink"),
    ("raise OSError('no disk')", 1, "OSError: no disk"),
    ("raise KeyboardInterrupt", 130, "KeyboardInterrupt"),
  ],
)
def test_a_thread_does_not_keep_the_process(end, code, says):
  """However the command ends, the process ends with it."""
  program = f"""
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from cnn_zoo import command_line
from cnn_zoo.errors import UserError

def main():
  threading.Thread(target=time.sleep, args=[100]).start()
  ThreadPoolExecutor(1).submit(time.sleep, 100)  # the interpreter waits for it too, at another place
  print("printed")
  print(time.time(), file=sys.stderr)
  {end}

command_line.END_WITHIN = 1.0
command_line.run(main)
"""
  out, err = runner.finish(runner.start(["-c", program]), code)
  ended = time.time()
  assert out == "printed\n" and says in err
  assert ended - float(err.splitlines()[0]) < 10
