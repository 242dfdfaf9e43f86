"""Every setting, its default and what it means. An experiment file changes only what differs."""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from cnn_zoo.data import KINDS, SPECS
from cnn_zoo.errors import check_name
from cnn_zoo.models import model_options


def get_config(model: str = "lenet5", dataset: str = "digits") -> ConfigDict:
  """The defaults for one model on one dataset."""
  check_name("dataset", dataset, SPECS)
  spec = SPECS[dataset]
  kind = KINDS[spec.kind]
  config = ConfigDict()

  config.seed = 0  # of initial weights, order of the data, augmentation and training noise
  config.init = placeholder(str)  # folder of a run, or of scripts/import_weights.py, whose weights this one starts from
  config.task = kind.TASK  # what the labels mean, which decides on loss and metrics
  config.dtype = "auto"  # what the model computes in: float32, bfloat16, or auto (bfloat16 on GPU and TPU)
  config.convolution_lowering = "auto"  # auto (the measured best for the backend) or lax (XLA's own everywhere)
  config.compilation_cache = "~/.cache/cnn_zoo"  # where compiled programs are kept between runs; "" for nowhere

  config.model = ConfigDict()  # the architecture's own options follow; None leaves the architecture's value
  config.model.name = model
  config.model.convolution = "standard"  # what replaces its k x k convolutions: NAME or NAME:option=value,keep=LAYER
  for option, value in model_options(model).items():
    config.model[option] = placeholder(type(value))
  if "rank" in config.model:
    config.model.rank = kind.RANK

  config.data = ConfigDict()
  config.data.name = dataset
  config.data.directory = placeholder(str)  # of prepared TFDS data; None: $TFDS_DATA_DIR or ~/tensorflow_datasets
  config.data.validation = 0.1  # share of the training examples held out to choose the best checkpoint; 0: none
  config.data.image_size = 32  # pixels a side that the model sees, of images, clips and scenes
  config.data.frames = 16  # of a clip
  config.data.samples = 8000  # of a waveform
  config.data.validation = 0.1  # share of the training examples that is held out; the best checkpoint is chosen on it
  config.data.workers = 0  # processes that load and augment; 0: threads of this process
  config.data.crop = "resize"  # training crops: resize (the whole image) or random (Inception's random resized crop)
  config.data.min_area = 0.08  # crop="random": the smallest share of the image's area
  config.data.test_crop = 0.875  # crop="random": the share of the shorter side that is evaluated
  config.data.flip = False  # mirror half of the training images (whole clips) left to right
  config.data.shift = 0.0  # largest shift in training, as a share of the side
  config.data.rotate = 0.0  # largest rotation in training, degrees
  config.data.zoom = 0.0  # largest relative zoom in training, in or out
  config.data.time_shift = 0.0  # waveforms: largest shift in training, as a share of the length
  config.data.gain = 0.0  # waveforms: largest change of level in training, dB
  config.data.noise = 0.0  # waveforms: largest level of noise added in training, as a share of full scale
  config.data.mean = (0.5,)  # subtracted from pixels in [0, 1], samples in [-1, 1]: one number, or one a channel
  config.data.std = (0.25,)  # what they are then divided by
  config.data.update(spec.settings)

  config.batch_size = 64  # examples in a step, over all devices and processes
  config.accumulate = 1  # parts in which a batch is computed, one after another, to save memory
  config.epochs = 20.0  # length of training; may be a fraction
  config.steps = placeholder(int)  # length of training in steps, in place of epochs
  config.label_smoothing = 0.0  # probability spread evenly over all classes
  config.ema_decay = 0.0  # of the averaged copy of the weights that is evaluated; 0: none
  config.on_nan = "stop"  # a loss that is not finite: stop (keeping the last good checkpoint) or continue

  config.optimizer = ConfigDict()
  config.optimizer.name = "adamw"  # sgd (Nesterov momentum), rmsprop (TensorFlow's form), adamw or lamb
  config.optimizer.learning_rate = 1e-3  # the largest, for this batch size
  config.optimizer.momentum = 0.9  # of sgd and rmsprop; beta 1 of adamw and lamb
  config.optimizer.decay = 0.999  # of squared gradients: rmsprop's rho, beta 2 of adamw and lamb
  config.optimizer.epsilon = 1e-8  # added to the denominator (rmsprop: under the root)
  config.optimizer.weight_decay = 0.0  # of kernels alone; decoupled in adamw and lamb, added to the gradient otherwise
  config.optimizer.clip_norm = 0.0  # largest norm of the whole gradient; 0: not clipped

  config.schedule = ConfigDict()
  config.schedule.name = "cosine"  # cosine (to zero), step (times decay_rate every decay_epochs) or constant
  config.schedule.warmup_epochs = 0.0  # of linear growth from zero
  config.schedule.decay_rate = 0.1  # schedule="step"
  config.schedule.decay_epochs = 30.0  # schedule="step"

  config.schedule.extend = False  # whether a longer run may go on from a shorter one with schedule="cosine"

  config.batch_norm = ConfigDict()
  config.batch_norm.momentum = placeholder(float)  # of the running averages; None: the architecture's
  config.batch_norm.group_size = placeholder(int)  # examples that share statistics; None: the whole batch

  config.eval = ConfigDict()
  config.eval.every_epochs = 1.0  # how often the test set is evaluated; always at the end
  config.eval.batch_size = 256  # examples in an evaluation step; the result does not depend on it

  config.checkpoint = ConfigDict()
  config.checkpoint.every_steps = 1000  # how often the run is saved; always at the end and at a new best
  config.checkpoint.keep = 2  # how many of the last checkpoints are kept, besides the best

  config.log_every_steps = 10  # how often training metrics are written
  config.lock()  # an experiment file changes fields, it invents none
  return config
