"""Mistakes end with one line and exit code 2."""

import concurrent.futures
import os

import pytest

import train
from cnn_zoo import command_line
from cnn_zoo.runs import training as runs_training
from cnn_zoo.training.loop import train as train_run
from tests.helpers import ROOT, runner

LENET5 = "--config=configs/lenet5.py"

# Files that --config names.
FILES = {
  "syntax.py": b"def get_config():\n  return (\n",
  "raises.py": b"from configs import base\n\n\ndef get_config():\n  return base.get_config()['optimiser']\n",
  "latin1.py": 'NAME = "Maß"\n'.encode("latin-1"),
  "none.py": b"def get_config():\n  pass\n",
  "nothing.py": b"",
  "nan.py": b"""from configs import base


def get_config():
  config = base.get_config()
  config.optimizer.learning_rate = float("nan")
  return config
""",
}
WRITTEN = {
  "syntax.py": "syntax.py' has a syntax error in line 2",
  "raises.py": "raises.py' raises KeyError in line 5",
  "latin1.py": "latin1.py' has a syntax error",
  "none.py": "none.py': get_config returns a NoneType; valid: a ConfigDict",
  "nothing.py": "nothing.py' raises AttributeError: module 'cnn_zoo_config' has no attribute 'get_config'",
  "nan.py": "config.optimizer.learning_rate=nan is not valid; valid: a number",
}

# What is typed after train.py, and what the line says. Found before a device is used.
TYPED = {
  "no config": ([], "--config is missing; valid: --config=configs/NAME.py"),
  "no file": (
    ["--config=configs/lenet6.py"],
    "config='configs/lenet6.py' is not there; did you mean configs/lenet5.py",
  ),
  "no folder": (["--config=nowhere/lenet5.py"], "config='nowhere/lenet5.py' is not there; nowhere holds no"),
  "override alone": (["--config.steps=3"], "--config.steps needs --config=configs/NAME.py"),
  "dataset": (["--config=configs/lenet5.py:cifar11"], "config.data.name='cifar11' is not known; did you mean cifar1"),
  "field": ([LENET5, "--config.batch_sise=3"], "config has no field 'batch_sise'; did you mean batch_size"),
  "nested field": ([LENET5, "--config.optimizer.lr=3"], "config.optimizer has no field 'lr'"),
  "field of a value": ([LENET5, "--config.seed.x=3"], "config.seed has no field 'x'; config.seed is a plain value"),
  "int": (
    [LENET5, "--config.batch_size=many"],
    "config.batch_size='many' is not valid; valid: a whole number, at least 1",
  ),
  "float for int": ([LENET5, "--config.batch_size=6.4"], "config.batch_size='6.4' is not valid; valid: a whole number"),
  "placeholder": ([LENET5, "--config.steps=soon"], "config.steps='soon' is not valid; valid: a whole number"),
  "float": (
    [LENET5, "--config.optimizer.learning_rate=fast"],
    "config.optimizer.learning_rate='fast' is not valid; valid: a number",
  ),
  "bool": ([LENET5, "--config.data.flip=maybe"], "config.data.flip='maybe' is not valid; valid: true or false"),
  "group": ([LENET5, "--config.optimizer=sgd"], "config.optimizer is a group; set one of its fields: "),
  "None": ([LENET5, "--config.batch_size=None"], "config.batch_size='None' is not valid; valid: a whole number"),
  "bool without a value": ([LENET5, "--config.steps"], "config.steps='True' is not valid; valid: a whole number"),
  "no path": (["--config=lenet5"], "config='lenet5' is not there; did you mean configs/lenet5.py"),
  "folder": (["--config=configs"], "config='configs' is not there; "),
  "nothing after the colon": (
    ["--config=configs/lenet5.py:"],
    "config='configs/lenet5.py:' has nothing after the colon",
  ),
  "recipe": (
    ["--config=configs/resnet18.py:mnist,recipe=cifer"],
    "recipe='cifer' is not known; did you mean cifar",
  ),
  "option of a config": (["--config=configs/resnet18.py:mnist,receipt=cifar"], "valid: recipe=NAME"),
  "long path": (["--config=" + "x" * 100_000], "is not there; "),
  "long folder": (["--config=" + "x" * 3000 + "/" + "y" * 2000], "is not there; xxx"),
  "long value": ([LENET5, "--config.batch_size=" + "9" * 100_000], "99... is not valid; valid: a whole number"),
  "long field": ([LENET5, f"--config.{'x' * 100_000}=1"], "config has no field 'xxx"),
  "flagfile": (["--flagfile=/nowhere/flags"], "--flagfile cannot be read: Unable to open flagfile: "),
  "warm-up": (
    [LENET5, "--config.epochs=1"],
    "warmup_epochs=2.0 is longer than training; valid: at most config.epochs=1",
  ),
  "flag": ([LENET5, "--workdri=x"], "Unknown command line flag 'workdri'"),
  "model": ([LENET5, "--config.model.name=lenet6"], "='lenet6' is not known; did you mean lenet5"),
  "convolution": (
    [LENET5, "--config.model.convolution=nonsense"],
    "config.model.convolution='nonsense' is not known; valid: depthw",
  ),
  "convolution's option": (
    [LENET5, "--config.model.convolution=dilated:dilatoin=2"],
    "config.model.convolution='dilated:dilatoin=2' is not valid: convolution dilated has no option 'dilatoin'; did you",
  ),
  "convolution of a layer": (
    [LENET5, "--config.model.convolution=grouped"],
    "config.model.convolution='grouped' cannot replace c1 (5x5, 1 -> 6 channels): groups=2 must divide in_features=1",
  ),
  "option of the model": (
    ["--config=configs/mobilenet_v2.py", "--config.model.width=-1"],
    "config.model.width=-1.0 is not valid; valid: a number, at least 0",
  ),
  "optimizer": ([LENET5, "--config.optimizer.name=adamv"], "config.optimizer.name='adamv' is not known; did you mean"),
  "schedule": (
    [LENET5, "--config.schedule.name=linear"],
    "config.schedule.name='linear' is not known; did you mean cosine",
  ),
  "dtype": ([LENET5, "--config.dtype=float31"], "config.dtype='float31' is not known; did you mean float32"),
  "task": ([LENET5, "--config.task=detection"], "config.task='detection' is not known"),
  "lowering": ([LENET5, "--config.convolution_lowering=cudnn"], "convolution_lowering='cudnn' is not known"),
  "on_nan": ([LENET5, "--config.on_nan=ignore"], "config.on_nan='ignore' is not known"),
  "no steps": (
    [LENET5, "--config.steps=0"],
    "config.steps=0 is not valid; valid: a whole number, at least 1 and at most 2147483647, or None",
  ),
  "negative steps": ([LENET5, "--config.steps=-5"], "config.steps=-5 is not valid; valid: a whole number, at least 1"),
  "no epochs": ([LENET5, "--config.epochs=0"], "config.epochs=0.0 is not valid; valid: a number, above 0"),
  "negative epochs": ([LENET5, "--config.epochs=-1"], "config.epochs=-1.0 is not valid; valid: a number, above 0"),
  "batch": ([LENET5, "--config.batch_size=0"], "config.batch_size=0 is not valid; valid: a whole number, at least 1"),
  "accumulate": (
    [LENET5, "--config.accumulate=5"],
    "config.batch_size=64 does not divide over 1 devices x config.accumulate=5",
  ),
  "ema": (
    [LENET5, "--config.ema_decay=1"],
    "config.ema_decay=1.0 is not valid; valid: a number, at least 0 and below 1",
  ),
  "smoothing": (
    [LENET5, "--config.label_smoothing=1.5"],
    "config.label_smoothing=1.5 is not valid; valid: a number, at least 0 and below 1 (probability",
  ),
  "log": (
    [LENET5, "--config.log_every_steps=0"],
    "config.log_every_steps=0 is not valid; valid: a whole number, at least 1",
  ),
  "weight decay": (
    [LENET5, "--config.optimizer.weight_decay=-1"],
    "config.optimizer.weight_decay=-1.0 is not valid; valid: a number, at least 0",
  ),
  "augmentation of another kind": (
    ["--config=configs/m5.py", "--config.data.flip=True"],
    "config.data.flip=True does not apply to config.data.name='waveforms', of kind waveform; valid: False",
  ),
  "small image": (
    [LENET5, "--config.data.image_size=16"],
    "left for layer c5; valid: config.data.image_size of at least 32",
  ),
  "one example": (
    ["--config=configs/mobilenet_v2.py", "--config.batch_size=16", "--config.accumulate=16"],
    "error: config.batch_size=16 with config.accumulate=16 is too small: batch normalisation needs more than one value",
  ),
  "groups of one": (
    ["--config=configs/mobilenet_v2.py", "--config.batch_norm.group_size=1"],
    "error: config.batch_norm.group_size=1 is too small: batch normalisation needs more than one value per channel",
  ),
  "groups": (
    ["--config=configs/efficientnet_b0.py", "--config.model.depth=0.1", "--config.batch_norm.group_size=48"],
    "batch_norm.group_size=48 does not divide the batch of 64",
  ),
}


def check_line(err, says):
  lines = err.splitlines()
  assert len(lines) == 1, err
  assert lines[0].startswith("error: ") and says in lines[0]


def forget_flags():
  """As if none had been typed."""
  every = command_line.flags.FLAGS
  every.unparse_flags()
  for flag in ("config", "workdir", "restart"):
    every[flag].unparse()


@pytest.fixture
def mistake(capsys, monkeypatch, tmp_path):
  """A function of what is typed and what the line says: calls what train.py calls, in this process."""
  monkeypatch.chdir(ROOT)

  def run(typed, says):
    forget_flags()
    with pytest.raises(SystemExit) as exit_:
      command_line.run(train.main, ["train.py", f"--workdir={tmp_path / 'run'}", *typed])
    assert exit_.value.code == 2
    check_line(capsys.readouterr().err, says)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()

  return run


@pytest.mark.parametrize("case", TYPED)
def test_mistake(case, mistake):
  mistake(*TYPED[case])


@pytest.mark.parametrize("name", FILES)
def test_mistake_in_a_file(name, mistake, tmp_path):
  (tmp_path / name).write_bytes(FILES[name])
  mistake([f"--config={tmp_path / name}"], WRITTEN[name])


def test_dataset_that_is_not_prepared(mistake, monkeypatch, tmp_path):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
  mistake(["--config=configs/lenet5.py:cifar10"], "run: python scripts/prepare_data.py cifar10 --directory=")


@pytest.mark.parametrize(
  ("typed", "again"), [([], "the same command"), (["--restart"], "the same command without --restart")]
)
def test_a_run_that_breaks(typed, again, monkeypatch, tmp_path):
  """Exit code 1, and the line says what resumes."""

  def fails(*arguments, **options):
    raise OSError("No space left on device")

  monkeypatch.chdir(ROOT)
  monkeypatch.setattr(runs_training, "train", fails)
  forget_flags()
  with pytest.raises(SystemExit) as exit_:
    command_line.run(train.main, ["train.py", f"--workdir={tmp_path / 'run'}", LENET5, *typed])
  assert exit_.value.code == (f"error: No space left on device; what was saved is intact; {again} resumes from there")


def test_folders(mistake, capsys, tmp_path):
  """One that cannot be written, and one that holds another run."""
  (tmp_path / "file").write_text("")
  mistake([LENET5, f"--workdir={tmp_path}/file/run"], "/file/run' cannot be written: Not a directory; give another")
  other = tmp_path / "other"
  train_run(runner.load("lenet5", steps=1), other)
  capsys.readouterr()  # its log
  workdir = f"--workdir={other}"
  longer = [LENET5, workdir, f"--config.compilation_cache={runner.CACHE}", "--config.steps=2"]
  mistake(longer, "holds a run of another length (steps: 1 -> 2), on which the cosine")
  small = [f"--config.{field}={value}" for field, value in runner.TINY_EFFICIENTNET.items()]
  mistake(["--config=configs/efficientnet_b0.py", workdir, *small], "model.name: 'lenet5' -> 'efficientnet_b0'")
  assert runner.saved_steps(other) == [1]


@pytest.mark.parametrize(
  ("typed", "says"),
  [
    ([], "error: give a command; valid: paint, print"),
    (["pant"], "error: command='pant' is not known; did you mean paint or print?"),
    (["paint", "print"], "error: 'print' is not a flag; flags begin with --"),
    (["paint", "--colour=red"], "error: Unknown command line flag 'colour'"),
    (["paint"], ""),
    (["print"], "error: no paper"),
  ],
)
def test_commands(typed, says, capsys):
  """A script of several commands, of which the first argument chooses."""
  done = []

  def fail():
    raise command_line.UserError("no paper")

  forget_flags()
  with pytest.raises(SystemExit) as exit_:
    command_line.run({"paint": lambda: done.append("paint"), "print": fail}, ["draw.py", *typed])
  err = capsys.readouterr().err
  if says:
    check_line(err, says)
  assert (exit_.value.code or 0, done) == ((2, []) if says else (0, ["paint"]))


def test_processes(tmp_path):
  """As a person types it, also on several devices."""
  workdir = f"--workdir={tmp_path / 'run'}"
  eight = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
  does_not_divide = "config.batch_size=60 does not divide over 8 devices; valid: multiples of 8"
  cases = [
    ([workdir], {}, "--config is missing"),
    ([LENET5, workdir, "--config.batchsize=3"], {}, "config has no field 'batchsize'; did you mean batch_size"),
    ([LENET5, workdir, "--config.batch_size=60"], eight, does_not_divide),
    ([LENET5, workdir, "--config.accumulate=3"], eight, "8 devices x config.accumulate=3; valid: multiples of 24"),
  ]

  def run(case):
    typed, environment, says = case
    _, err = runner.finish(runner.start(["train.py", *typed], **environment), code=2)
    return err, says

  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    for err, says in pool.map(run, cases):
      check_line(err, says)
  assert not (tmp_path / "run").exists()


def parsed(*typed):
  """The configuration of these arguments, as `run` leaves it."""
  forget_flags()
  command_line._parse(["train.py", f"--config={ROOT}/configs/lenet5.py:mnist", *typed])
  return train._CONFIG


def test_default_workdir():
  """Named by what changes the run, so that the same command finds it again."""
  typed = ("--config.steps=3", "--config.optimizer.name=sgd", "--config.data.workers=2", "--config.init=a/b")
  config = parsed(*typed, "--config.compilation_cache=/x", "--config.schedule.extend=True")
  assert config.value.data.name == "mnist"
  assert config.default_workdir() == "runs/lenet5-mnist,init=a_b,optimizer.name=sgd,steps=3"
  chosen = command_line.ConfigFlag()
  chosen.parse(f"{ROOT}/configs/resnet18.py:imagenette,recipe=imagenet", [("seed", "1")])
  assert chosen.default_workdir() == "runs/resnet18-imagenette,recipe=imagenet,seed=1"


def test_default_workdir_can_hold_a_run():
  """Orbax looks for checkpoints by a pattern, in which some characters have a meaning."""
  config = parsed("--config.data.mean=[0.4, 0.5]", "--config.init=a?b*c[d\\e")
  assert config.default_workdir() == "runs/lenet5-mnist,data.mean=(0.4,0.5),init=a_b_c(d_e"


@pytest.mark.parametrize(
  ("typed", "field", "value"),
  [
    (["--config.batch_size=6", "--config.batch_size=8"], "batch_size", 8),
    (["--config.batch_size", "8"], "batch_size", 8),
    (["-config.epochs=30"], "epochs", 30.0),
    (["--config.data.flip"], "data.flip", True),
    (["--config.data.flip", "--config.seed=1"], "data.flip", True),
    (["--config.data.flip=true", "--noconfig.data.flip"], "data.flip", False),
    (["--config.data.flip=F"], "data.flip", False),
    (["--config.data.mean=0.5"], "data.mean", (0.5,)),
    (["--config.data.mean=(0.4, 0.5, 0.6)"], "data.mean", (0.4, 0.5, 0.6)),
    (["--config.optimizer.learning_rate=1e-2"], "optimizer.learning_rate", 0.01),
    (["--config.init=a=b"], "init", "a=b"),
    (["--config.model.name=resnet18", "--config.model.zero_init_residual=True"], "model.zero_init_residual", True),
    (["--config.model.zero_init_residual=True", "--config.model.name=resnet18"], "model.zero_init_residual", True),
  ],
)
def test_overrides(typed, field, value):
  config = parsed(*typed).value
  for name in field.split("."):
    config = config[name]
  assert config == value and type(config) is type(value)


@pytest.mark.parametrize("field", ["steps", "init", "batch_norm.group_size", "batch_norm.momentum", "data.directory"])
def test_none_resets(field):
  """Whatever the file or an earlier flag set it to."""
  value = "3" if "." in field or field == "steps" else "folder"
  value = {"batch_norm.momentum": "0.5"}.get(field, value)
  config = parsed(f"--config.{field}={value}", f"--config.{field}=None").value
  for name in field.split("."):
    config = config[name]
  assert config is None


def test_none_resets_what_the_recipe_sets():
  forget_flags()
  argv = ["train.py", f"--config={ROOT}/configs/efficientnet_b0.py:imagenet", "--config.batch_norm.group_size=None"]
  command_line._parse(argv)
  assert command_line.load_config(argv[1].split("=")[1]).batch_norm.group_size == 64
  assert train._CONFIG.value.batch_norm.group_size is None


def test_flagfile(tmp_path):
  """May hold settings of the configuration too."""
  (tmp_path / "flags").write_text("# a comment\n--config.seed=7\n")
  assert parsed(f"--flagfile={tmp_path}/flags").value.seed == 7


def test_nothing_is_written_at_home():
  assert "pytest" in os.environ["TFDS_DATA_DIR"] and "pytest" in runner.CACHE
