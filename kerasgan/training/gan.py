"""A generator and a discriminator, trained together under Keras' `compile` and `fit`.

What happens in one step is in `SegmentationGAN.train_step`, from top to bottom.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.models.framing import note_framing
from kerasgan.models.outputs import to_probability, to_signed_mask, with_logits
from kerasgan.models.preprocess import get_preprocess, set_preprocess
from kerasgan.training import checks, feed, guards, inspection, optimizers, replicas, store, workers
from kerasgan.training import resume as runs
from kerasgan.training.adversarial import (
    ADVERSARIAL,
    FAKES,
    THRESHOLDS,
    accuracy,
    check_adversarial,
    expose_features,
    feature_matching_loss,
    gradient_norm_penalties,
)
from kerasgan.training.batch_checker import NO_WEIGHTS, one_pixel_layer
from kerasgan.training.checkpoint import hold_folder
from kerasgan.training.learner import (
    batch_statistics,
    clone_with_precision,
    copy_frozen_weights,
    follow_frozen_layers,
    frozen_wrapped_weights,
    ramped_momentum,
    restore,
    snapshot,
    update_ema,
)
from kerasgan.training.losses import ON_LOGITS, named_losses
from kerasgan.training.metrics import Dice, Jaccard
from kerasgan.training.record import Record
from kerasgan.training.unlabelled import PLAIN, Unlabelled, check_given, check_terms, named_weights
from kerasgan.validation import check_path


def _after_batch_is_read(step):
    """Make a step change no variable before its batch is there.

    Keras 3 learns from a failing step that a dataset of unknown length has ended; counters, which
    do not depend on the batch, would count that step.
    """

    @functools.wraps(step)
    def waiting(self, data):
        with tf.control_dependencies([x for x in tf.nest.flatten(data) if tf.is_tensor(x)]):
            return step(self, data)

    return waiting


class SegmentationGAN(keras.Model):
    """A segmentation network trained against a discriminator, as any Keras model.

    One step runs the generator forward once, and the discriminator once on the real and once on the
    generated masks; then both networks move at the same time, each by its own gradient. Masks are
    {0, 1} outside; the discriminator takes them in [-1, 1], as it takes the image.

    `fit`, `evaluate`, `predict` and Keras' callbacks work as usual. Logged are `generator_loss`
    (the weighted sum), its parts (`l1_loss`, `adversarial_loss`), `discriminator_loss`,
    `discriminator_accuracy` (the share of real and generated masks that it classifies correctly),
    `jaccard` and `dice` (mean over images, at network size), with `val_` before it for validation
    data.

    Images without masks can be learned from too: `unlabelled_losses` of `compile`, `unlabelled` of
    `fit`.

    `optimizer`, which learning-rate callbacks act on, is the generator's.

    `generator` is always the network that predicts, in float32. Where its weights are a moving
    average, or training computes in another precision, the gradients go to a copy of it.

    Args:
        generator: functional `keras.Model`, image (batch, height, width, channels) in [-1, 1] ->
            mask (batch, height, width, classes), ending in tanh, sigmoid, softmax or a logit.
        discriminator: functional `keras.Model`, [image, mask in [-1, 1]] -> logits of a real mask,
            any shape; None trains the generator alone.

    Example:
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> generator = kg.models.pix2pix_generator(size=32, filters=2)
        >>> discriminator = kg.models.patch_discriminator(size=32, filters=2)
        >>> gan = kg.SegmentationGAN(generator, discriminator)
        >>> gan.compile(losses={"l1": 100.0})
        >>> images = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype("float32")
        >>> masks = (images[..., :1] > 0).astype("float32")
        >>> history = gan.fit(images, masks, batch_size=2, epochs=1, verbose=0)
        >>> sorted(history.history)[:3]
        ['adversarial_loss', 'dice', 'discriminator_accuracy']

    Source: arXiv 2111.01665; Isola et al. 2017 (arXiv 1611.07004).
    """

    def __init__(
        self, generator: keras.Model, discriminator: keras.Model | None = None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.activation = checks.check_generator(generator).activation
        if discriminator is not None:
            checks.check_networks(generator, discriminator)
        self.generator = generator
        self.discriminator = discriminator
        self.recipe = None
        vars(self)["fits"] = []  # plain, not tracked by Keras
        self.built = True
        self.compiled = False
        self._skips_steps = False
        self.distribute_reduction_method = "first"  # each device logs what holds for all

    @property
    def recipe(self) -> dict | None:
        """Settings that it was built with, as `kerasgan.recipes.Recipe` takes them, or None."""
        return vars(self).get("_recipe")

    @recipe.setter
    def recipe(self, value):
        vars(self)["_recipe"] = _plain_containers(value)

    # --- Compiling ---

    @replicas.in_strategy_scope
    def compile(
        self,
        optimizer="default",
        discriminator_optimizer="default",
        losses: dict[str, float] | None = None,
        adversarial: str = "vanilla",
        adversarial_weight: float = 1.0,
        feature_matching: float = 0.0,
        gradient_penalty: float = 0.0,
        r1: float = 0.0,
        label_smoothing: float = 0.0,
        discriminator_warmup: int = 0,
        schedule: str = "constant",
        warmup: float = 0.0,
        ema_momentum: float = 0.0,
        unlabelled_losses: dict[str, float] | None = None,
        unlabelled_rampup: int = 0,
        precision: str = "float32",
        penalty: Callable | None = None,
        penalty_weight: float = 1.0,
        sync_batch_norm: bool = True,
        **kwargs,
    ):
        """Set optimizers and losses.

        Args:
            optimizer: the generator's, a name or a Keras optimizer; default Adam with learning
                rate 2e-4 and beta_1 0.5. Weight decay, where it has some, spares biases and
                normalisation; gradients are clipped by its own `global_clipnorm`.
            discriminator_optimizer: the discriminator's, likewise.
            losses: weight of each segmentation loss, from 0 up, by name: `"l1"`,
                `"cross_entropy"`, `"dice"`, `"jaccard"`, `"tversky"`, `"focal"`, `"boundary"`;
                default `{"l1": 100.0}`. In place of a name, a function of yours from masks and
                probabilities, both float32 (batch, height, width, classes) in [0, 1], to a scalar,
                or a number for each image; or a `keras.losses.Loss`. It is logged under its own
                name and `_loss`.
            adversarial: the adversarial loss: `"vanilla"`, `"least_squares"`, `"hinge"`,
                `"wasserstein"` (with `gradient_penalty=10`), `"segan"` (with `feature_critic`).
            adversarial_weight: its weight in the generator's loss, from 0 up; with 0 the
                discriminator is neither run nor trained.
            feature_matching: weight in the generator's loss of the distance between the
                discriminator's hidden activations for real and generated masks, from 0 up.
            gradient_penalty: weight in the discriminator's loss of (norm of its gradient - 1)^2 at
                mixtures of real and generated masks, from 0 up.
            r1: weight in the discriminator's loss of half the squared norm of its gradient at real
                masks, from 0 up.
            label_smoothing: real masks are labelled 1 less this for the discriminator, in [0, 1).
            discriminator_warmup: first steps in which the discriminator learns without yet moving
                the generator.
            schedule: of both learning rates over the run: `"constant"`, or `"cosine"` down to 0.
            warmup: share of the steps in which a cosine schedule rises first, in [0, 1).
            ema_momentum: of the moving average of the generator's weights, in [0, 1); it predicts
                in place of the last weights. 0 for none. Early on the average is shorter.
            unlabelled_losses: weight of each loss on unlabelled images, which `fit` is then given,
                from 0 up, by name. Of the discriminator: `"adversarial"`, `"self_training"`,
                `"discriminator"`. Of a critic that comes with it: `"output_adaptation"`,
                `"entropy_adaptation"`. Of the network that predicts, as a teacher:
                `"mean_teacher"` (with `ema_momentum`), `"cutmix"`, `"pseudo_labels"`. Each is
                logged, as `unlabelled_cutmix_loss`.
            unlabelled_rampup: steps over which these weights rise from nearly 0.
            precision: that convolutions are trained in: `"float32"`; `"bfloat16"` where the
                processor has it; `"float16"`, with loss scaling, on GPUs. Weights, logits and
                losses, and the network that predicts, are float32 in each.
            penalty: a further loss on the generator, such as `kerasgan.training.InvariancePenalty`:
                from the network that learns to a function from images, masks, probabilities, the
                step and whether it trains to a scalar. A saved model is loaded without it.
            penalty_weight: its weight in the generator's loss, from 0 up.
            sync_batch_norm: whether batch normalisation looks at the images of all devices in
                training, where there are several; else each device normalises by its own.
            **kwargs: `run_eagerly`, `jit_compile` (XLA; off unless True), `steps_per_execution`, as
                in Keras; not its `loss` and `metrics`.

        Example:
            >>> import kerasgan as kg
            >>> gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=2))
            >>> gan.compile("adam", losses={"cross_entropy": 1.0, "dice": 1.0}, ema_momentum=0.99)
        """
        checks.check_keras_arguments(kwargs, inspect.signature(type(self).compile).parameters)
        if kwargs.get("jit_compile") in (None, "auto"):  # Keras 3 would choose XLA on a GPU
            kwargs["jit_compile"] = False
        losses = {"l1": 100.0} if losses is None else losses
        functions, losses = named_losses(
            losses, self.generator.output_shape[1:], bool(kwargs.get("run_eagerly"))
        )
        check_adversarial(adversarial, label_smoothing)
        settings: dict[str, Any] = {
            "losses": losses,
            "adversarial": adversarial,
            "adversarial_weight": adversarial_weight,
            "feature_matching": feature_matching,
            "gradient_penalty": gradient_penalty,
            "r1": r1,
            "label_smoothing": label_smoothing,
            "discriminator_warmup": discriminator_warmup,
            "schedule": schedule,
            "warmup": warmup,
            "ema_momentum": ema_momentum,
            "unlabelled_losses": named_weights(unlabelled_losses),
            "unlabelled_rampup": unlabelled_rampup,
            "precision": precision,
            "sync_batch_norm": sync_batch_norm,
        }
        checks.check_settings(settings, penalty, penalty_weight)
        if self.discriminator is None:
            settings["adversarial_weight"] = 0.0
        free = settings["unlabelled_losses"]
        checks.check_xla(kwargs.get("jit_compile"), {**losses, **free})
        check_terms(free, settings, self.generator.output_shape[1:], self.discriminator)
        if not (any(losses.values()) or settings["adversarial_weight"] or penalty):
            raise KerasganError(
                "There is nothing to learn from: every weight in 'losses' is 0, and there is "
                "neither an adversarial loss nor a penalty"
            )
        replicas.check_scope(self, optimizer, discriminator_optimizer)
        pair = optimizers.make_optimizers(optimizer, discriminator_optimizer, precision)
        super().compile(optimizer=pair[0], **kwargs)
        vars(self)["_keras_options"] = kwargs
        self._loss_functions, self.loss_weights = functions, losses
        self._settings = {**settings, "jit_compile": bool(self.jit_compile)}
        self.adversarial_weight = float(settings["adversarial_weight"])
        self._prepare_generator()
        self._prepare_discriminator(pair[1])
        length, shape = settings["unlabelled_rampup"], self.generator.output_shape[1:]
        vars(self)["_unlabelled"] = Unlabelled(free, length, shape) if free else None
        if replicas.is_distributed():
            for network in self._networks():
                replicas.synchronize_batch_norm(network, sync_batch_norm)
        vars(self)["_learns"] = vars(self)["_learned"] = self._follow_frozen_layers()
        self._penalty = penalty(self._trained_generator) if penalty and penalty_weight else None
        self._penalty_weight = float(penalty_weight)
        own = [each for each in (self.optimizer, self.discriminator_optimizer) if each is not None]
        own += self._unlabelled.optimizers.values() if free else []
        self._rates = [(each, optimizers.peak_learning_rate(each, schedule)) for each in own]
        names = ["generator_loss", *(f"{name}_loss" for name in losses)]
        names += ["penalty_loss"] * (self._penalty is not None)
        if self.adversarial_weight:
            names += ["adversarial_loss", "discriminator_loss"]
            names += ["feature_loss"] * bool(feature_matching)
            names += ["discriminator_accuracy"] * (adversarial in THRESHOLDS)
        names += self._unlabelled.names if free else []
        self._means = {name: keras.metrics.Mean(name) for name in names}
        self._overlaps = [Jaccard(), Dice()]
        self.compiled = True
        penalties = {"penalty": penalty, "penalty_weight": penalty_weight}
        vars(self)["_as_compiled"] = {**self.compile_settings(), **penalties}

    def _prepare_generator(self):
        """Make the network that takes the generator's gradients, and its optimizer's variables."""
        precision, averaged = self._settings["precision"], self._settings["ema_momentum"]
        self._trained_generator = (
            clone_with_precision(self.generator, precision)
            if averaged or precision != "float32"
            else self.generator
        )
        self._with_logits = with_logits(self.generator), with_logits(self._trained_generator)
        optimizers.build_optimizer(self.optimizer, self._trained_generator.trainable_variables)

    def _prepare_discriminator(self, optimizer):
        """The same for the discriminator, if it is trained."""
        self.discriminator_optimizer, self._trained_discriminator = None, self.discriminator
        if not self.adversarial_weight:
            return
        self.discriminator_optimizer = optimizer
        if self._settings["precision"] != "float32":
            self._trained_discriminator = clone_with_precision(
                self.discriminator, self._settings["precision"]
            )
        optimizers.build_optimizer(optimizer, self._trained_discriminator.trainable_variables)
        self._discriminators = [self.discriminator, self._trained_discriminator]
        if self._settings["feature_matching"]:
            self._discriminators = [expose_features(each) for each in self._discriminators]

    @property
    def metrics(self):
        """The Keras metrics reset at the start of each epoch."""
        return [*self._means.values(), *self._overlaps] if self.compiled else []

    # --- Running ---

    def call(self, inputs, training=None):
        """Return the generator's output, as it is, for a batch of images."""
        return self.generator(inputs, training=training)

    @workers.explain_lost_workers
    @guards.silence_slow_callbacks()
    @inspection.unwrap_errors()
    def fit(
        self,
        x=None,
        y=None,
        *,
        unlabelled=None,
        resume=None,
        initial_epoch=0,
        callbacks=None,
        **kwargs,
    ):
        """Train; as `keras.Model.fit`, and able to go on where an earlier run stopped.

        Args:
            x: what Keras takes; usually `samples.batches(...)`.
            y: masks, where `x` is an array of images.
            unlabelled: images without masks, for `unlabelled_losses` of `compile`: usually
                `frames.batches(...)`, of `frames = load_folder(images=..., masks=None)`; or another
                dataset of image batches, or an array of images. Each step sees a batch of both. An
                epoch is one of `x`; the unlabelled images go round in an order of their own.
            resume: a folder for the state of the run, written between steps: behind the first, at
                least every minute, at each epoch's end, and on SIGINT or SIGTERM, which then stop
                it. The last two states are kept. If it holds one already, the run goes on from
                there, within the epoch: weights, optimizers, metrics and history, the callbacks'
                best values, the data's order and augmentation. Data, networks and settings must be
                what they were, but for more `epochs`. Arrays are shuffled by the recipe's seed;
                generators go on from whole epochs alone. A state that cannot be written stops the
                run at its first step, and is a warning later.
            initial_epoch: as in Keras; the augmentation of `samples.batches` begins there too.
            callbacks: as in Keras.
            **kwargs: as in Keras: `epochs`, `validation_data`, `verbose`, ...

        Returns:
            `keras.callbacks.History`, of all epochs since the very first. What was done is kept in
            `gan.fits`, a dict for each call: data, batch size, augmentation, epochs, the epoch
            whose weights were kept, seconds, versions. It is saved with the model.

        Raises:
            KerasganError: if the model is not compiled, the data do not fit the networks, or the
                folder holds the state of other networks, settings or data, is written to by another
                run now, or cannot be written.
        """
        checks.check_counts({"initial_epoch": initial_epoch, **kwargs})
        self._start_training()
        store.warn_of_new_optimizers(self)
        checks.check_scaling(self.generator)
        checks.check_moving_layers(self.generator)
        check_given(self._settings["unlabelled_losses"], unlabelled)
        given, options = x, dict(kwargs)
        labels = guards.LabelGuard(self.generator.output_shape[-1])
        how = {"learns": True, "labels": labels.shown}
        x, y = self._check_data(x, y, kwargs, kwargs.get("steps_per_epoch"), **how)
        checks.check_split(kwargs.get("validation_split"), x, y)
        data, pair = (given if y is None else x, y), None
        if unlabelled is not None:
            x, y, pair = self._beside(x, y, unlabelled, kwargs)
        if kwargs.get("validation_data") is not None:
            parts = kwargs["validation_data"], kwargs.get("validation_steps")
            kwargs["validation_data"] = inspection.check_validation_data(self.generator, *parts)
        record = Record(*data, options, unlabelled)
        if get_preprocess(self.generator) is None:
            set_preprocess(self.generator)  # it learns to take what it is trained on
        note_framing(self.generator, record.entry["data"], self.recipe)
        callbacks = tf.nest.flatten([] if callbacks is None else callbacks)
        logged = [metric.name for metric in self.metrics]
        if kwargs.get("validation_data") is not None or kwargs.get("validation_split"):
            logged += [f"val_{name}" for name in logged]
        checks.check_callbacks(callbacks, logged, self)
        watching = [guards.NonFiniteGuard(), labels]
        if self._settings["schedule"] == "cosine":
            watching.append(guards.CosineSchedule(self._settings["warmup"]))
        if unlabelled is not None:
            watching.append(guards.HarmGuard())
        watching.append(record)
        fit = _with_data_for_keras(self, super().fit)
        if resume is not None:
            places = check_path("resume", resume), initial_epoch
            first = workers.index_and_count(self.distribute_strategy)[0] == 0
            with hold_folder(places[0]) if first else contextlib.nullcontext():
                history = runs.run(fit, self, x, y, pair, *places, watching, callbacks, kwargs)
        else:
            x = x if pair is None else pair(x)
            feed.set_position(x, initial_epoch)
            callbacks = [*watching, *callbacks]
            history = fit(x, y, initial_epoch=initial_epoch, callbacks=callbacks, **kwargs)
        record.close(callbacks)
        return history

    def _beside(self, x, y, unlabelled, options):
        """Return labelled batches, and what puts unlabelled ones beside them."""
        seed = int((self.recipe or {}).get("seed") or 0)
        size = options.get("batch_size") or 32
        x, y = feed.arrays_as_dataset(x, y, options, seed)
        steps = inspection.check_labelled(x, options.get("steps_per_epoch"))
        terms = self._settings["unlabelled_losses"]
        unlabelled = inspection.check_unlabelled(
            self.generator, unlabelled, size, 2 if "cutmix" in terms else 1
        )
        if not isinstance(unlabelled, tf.data.Dataset):
            unlabelled = feed.images_from_array(unlabelled, size, seed)
        return x, y, lambda labelled: feed.pair_with_unlabelled(labelled, unlabelled, steps)

    def _follow_frozen_layers(self) -> dict[str, bool]:
        """Freeze in the networks that learn what is frozen in those that the user holds."""
        pairs = {"generator": (self.generator, self._trained_generator)}
        if self.discriminator_optimizer is not None:
            pairs["discriminator"] = self.discriminator, self._trained_discriminator
        return {
            f"{name} of the {role}": learns
            for role, pair in pairs.items()
            for name, learns in follow_frozen_layers(*pair).items()
        }

    def _start_training(self):
        """Start from the weights and the frozen layers of the networks that the user holds."""
        self._check_compiled()
        learns = self._follow_frozen_layers()
        for name in learns:
            if learns[name] and not self._learned.get(name, True):
                raise KerasganError(
                    f"Layer {name} was frozen when compile() was called, and is not now. Call "
                    "compile() again, so that the optimizer knows its weights"
                )
        if learns != self._learns:  # the step is traced anew; Keras 2.14 trains what learned then
            super().compile(optimizer=self.optimizer, **self._keras_options)
            vars(self)["_learns"] = learns
        averaged = self._settings["ema_momentum"] and self.optimizer.iterations.numpy() > 0
        if averaged:
            copy_frozen_weights(self.generator, self._trained_generator)
        elif self._trained_generator is not self.generator:
            self._trained_generator.set_weights(self.generator.get_weights())
        if self._trained_discriminator is not self.discriminator:
            self._trained_discriminator.set_weights(self.discriminator.get_weights())

    @inspection.unwrap_errors()
    def evaluate(self, x=None, y=None, batch_size=None, **kwargs):
        """Score; as `keras.Model.evaluate`."""
        checks.check_counts({"batch_size": batch_size, **kwargs})
        checked_by_fit = isinstance(kwargs.get("callbacks"), keras.callbacks.CallbackList)
        if not checked_by_fit:
            x, y = self._check_data(x, y, kwargs, kwargs.get("steps"))
        evaluate = _with_data_for_keras(self, super().evaluate)
        scores = evaluate(x, y, batch_size=batch_size, **kwargs)
        if scores in ([], {}):
            raise KerasganError(inspection.EMPTY)
        return scores

    def predict(self, x, *args, **kwargs):
        """Return masks as the generator gives them; as `keras.Model.predict`."""
        inspection.check_images(self.generator, x)
        return super().predict(x, *args, **kwargs)

    @inspection.unwrap_errors()
    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, **kwargs):
        """Move both networks by one batch; as `keras.Model.train_on_batch`."""
        weights = {"sample_weight": sample_weight, "class_weight": class_weight}
        weights["batch_size"] = getattr(x, "shape", (None,))[0]
        self._start_training()
        if self._settings["unlabelled_losses"]:
            raise KerasganError(
                "train_on_batch() takes labelled images alone, and compile() was given "
                "unlabelled_losses; call fit(..., unlabelled=...), or compile without them"
            )
        x, y = self._check_data(x, y, weights, learns=True)
        self._reset_scores(kwargs)
        return super().train_on_batch(x, y, **kwargs)

    def test_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        """Score one batch; as `keras.Model.test_on_batch`."""
        x, y = self._check_data(x, y, {"sample_weight": sample_weight})
        self._reset_scores(kwargs)
        return super().test_on_batch(x, y, **kwargs)

    def _reset_scores(self, options):
        """Reset the scores before a single batch, as Keras 3 does since 3.12."""
        if options.get("reset_metrics", True):
            self.reset_metrics()

    def _check_compiled(self):
        if not self.compiled:
            raise KerasganError(
                "Call compile() before fit() or evaluate(), or build the GAN from a recipe"
            )

    def _check_data(self, x, y, options, steps=None, learns=False, labels=None):
        self._check_compiled()
        one_pixel = one_pixel_layer(self._networks()) if learns else ""
        for name in ("sample_weight", "class_weight"):
            if options.get(name) is not None:
                raise KerasganError(NO_WEIGHTS.format(f"'{name}'"))
        how = {"steps": steps, "one_pixel": one_pixel, "batch_size": options.get("batch_size")}
        return inspection.check_batches(self.generator, x, y, labels=labels, **how)

    def make_train_function(self, force=False):
        """Return what `fit` calls for a step; it moves nothing while `_skips_steps` is true."""
        if self.train_function is None or force:
            super().make_train_function(force)
            step = replicas.run_on_all_machines(self, self.train_function, self.train_step)
            self.train_function = lambda data: (
                self.get_metrics_result() if self._skips_steps else step(data)
            )
        return self.train_function

    def make_test_function(self, force=False):
        """Return what `evaluate` calls for a step."""
        if self.test_function is None or force:
            super().make_test_function(force)
            step = replicas.run_on_all_machines(self, self.test_function, self.test_step)
            self.test_function = step
        return self.test_function

    # --- One step ---

    @_after_batch_is_read
    def train_step(self, data):
        """Move both networks by one batch; called by `fit`.

        The adversarial loss reaches the generator through the fake mask: its gradient by that mask
        is handed to the generator's tape, so the generator runs once, and no gradient of this loss
        by the discriminator's weights is computed.
        """
        data, free = replicas.split_unlabelled(data)
        image, mask, fraction = self._read(data)
        views, inside = {}, None
        if free is not None:
            free = inspection.cast_image(free[0], self.generator), free[1]
            views, inside = self._unlabelled.views(free[0], self._key())
        still = snapshot(w for network in self._networks() for w in frozen_wrapped_weights(network))

        # 1. Segment the images; compute the losses that compare the result with the true masks.
        with tf.GradientTape() as generator_tape:
            probability, logits, drawn = self._segment_all(image, views)
            fake = to_signed_mask(probability)
            generator_loss, logs = self._segmentation_loss(image, mask, probability, logits, True)
            part = replicas.weight_loss(generator_loss, fraction)
            if free is not None:
                free_loss, parts = self._unlabelled_loss(free[0], drawn, inside)
                part += replicas.weight_loss(free_loss, free[1])
                generator_loss += replicas.relative_loss(free_loss, free[1], fraction)
                logs.update(parts)
            target = optimizers.scale_loss(self.optimizer, part)
        targets, target_gradients = [target], [tf.ones_like(target)]

        # 2. Show real and fake masks to the discriminator; compute its loss and the generator's.
        if self.adversarial_weight:
            with tf.GradientTape(persistent=True) as discriminator_tape:
                discriminator_tape.watch(fake)
                adversarial_loss, discriminator_loss, parts = self._adversarial_losses(
                    image, mask, fake, training=True
                )
                discriminator_loss += self._discriminator_penalties(image, mask, fake)
                part = replicas.weight_loss(adversarial_loss * self._after_warmup(), fraction)
                generator_target = optimizers.scale_loss(self.optimizer, part)
                part = replicas.weight_loss(discriminator_loss, fraction)
                if free is not None and "discriminator" in self._unlabelled.weights:
                    weighted, fakes_loss = self._loss_of_unlabelled_fakes(free[0], drawn)
                    part += replicas.weight_loss(weighted, free[1])
                    parts["unlabelled_discriminator_loss"] = fakes_loss
                discriminator_target = optimizers.scale_loss(self.discriminator_optimizer, part)
            targets.append(fake)
            target_gradients.append(discriminator_tape.gradient(generator_target, fake))
            discriminator_variables = self._trained_discriminator.trainable_variables
            discriminator_gradients = discriminator_tape.gradient(
                discriminator_target, discriminator_variables
            )
            del discriminator_tape
            generator_loss += adversarial_loss
            logs.update(parts, discriminator_loss=discriminator_loss)

        # 3. Move all networks by their gradients.
        variables = self._trained_generator.trainable_variables
        gradients = generator_tape.gradient(targets, variables, output_gradients=target_gradients)
        optimizers.apply_gradients(self.optimizer, gradients, variables)
        if self.adversarial_weight:
            pair = discriminator_gradients, discriminator_variables
            optimizers.apply_gradients(self.discriminator_optimizer, *pair)
        if free is not None and self._unlabelled.critics:
            pair = probability, drawn[PLAIN][0]
            parts = self._unlabelled.train_critics(*pair, (fraction, free[1]))
            logs.update(parts)

        restore(still)

        # 4. Where copies were trained, bring their weights to the networks that predict.
        if self._trained_discriminator is not self.discriminator:
            update_ema(self.discriminator, self._trained_discriminator)
        if self._trained_generator is not self.generator:
            momentum = self._settings["ema_momentum"]
            momentum = ramped_momentum(momentum, self._step()) if momentum else None
            update_ema(self.generator, self._trained_generator, momentum)

        # 5. Update the means that are logged.
        free_fraction = fraction if free is None else free[1]
        return self._log(mask, probability, generator_loss, logs, fraction, free_fraction)

    @_after_batch_is_read
    def test_step(self, data):
        """Score one batch, both networks in inference mode; called by `evaluate` and `fit`."""
        image, mask, fraction = self._read(data)
        probability, logits = self._segment(image, training=False)
        generator_loss, logs = self._segmentation_loss(image, mask, probability, logits, False)
        if self.adversarial_weight:
            adversarial_loss, discriminator_loss, parts = self._adversarial_losses(
                image, mask, to_signed_mask(probability), training=False
            )
            generator_loss += adversarial_loss
            logs.update(parts, discriminator_loss=discriminator_loss)
        scores = self._log(mask, probability, generator_loss, logs, fraction)
        unseen = self._unlabelled.names if self._unlabelled else ()
        return {name: value for name, value in scores.items() if name not in unseen}

    def _read(self, data):
        """Return this device's images and masks, float32, and their fraction of the batch."""
        image, mask, fraction = replicas.local_batch(data)
        return *inspection.cast_batch(image, mask, self.generator), fraction

    def _segment(self, image, training):
        """Return probabilities and logits, of the network that is trained or of that in use."""
        output, logits = self._with_logits[training](image, training=training)
        return to_probability(tf.cast(output, tf.float32), self.activation), logits

    def _segment_all(self, image, views):
        """Return probabilities and logits of labelled images, and both of views of others, by view.

        Views that a teacher has masks for join the batch of the labelled images. Plain ones, which
        have none, are normalised by their own statistics, and these are not kept: if they come
        from another source, the network in use would else draw other masks than the one trained.
        """
        if not views:
            return *self._segment(image, training=True), {}
        joined = {name: view for name, view in views.items() if name != PLAIN}
        sizes = [tf.shape(each)[0] for each in (image, *joined.values())]
        logits = self._segment(tf.concat([image, *joined.values()], 0), training=True)
        first, *others = zip(*(tf.split(each, sizes) for each in logits))
        drawn = dict(zip(joined, others))
        if PLAIN in views:
            statistics = snapshot(batch_statistics(self._trained_generator))
            drawn[PLAIN] = self._segment(views[PLAIN], training=True)
            restore(statistics)
        return *first, drawn

    def _unlabelled_loss(self, image, drawn, inside):
        """Return the weighted sum of the losses on unlabelled images, and each of them by name."""

        def teach():
            return self._segment(image, training=False)[0]

        def judge(probability):
            return self._judge(image, probability)

        kind, step = self._settings["adversarial"], self._step()
        return self._unlabelled.loss(drawn, inside, teach, judge, kind, step)

    def _loss_of_unlabelled_fakes(self, image, drawn):
        """Return what drawn masks of unlabelled images add to the discriminator's loss.

        Weighted, and as it is logged.
        """
        verdict = self._judge(image, tf.stop_gradient(drawn[PLAIN][0]))
        loss = FAKES[self._settings["adversarial"]](verdict)
        return self._unlabelled.weight("discriminator", self._step()) * loss, loss

    def _judge(self, image, probability):
        """Return the discriminator's logits of masks drawn in training."""
        verdict = self._discriminators[True]([image, to_signed_mask(probability)], training=True)
        verdict = verdict[0] if self._settings["feature_matching"] else verdict
        return tf.cast(verdict, tf.float32)

    def _segmentation_loss(self, image, mask, probability, logits, training):
        """Return the weighted sum of penalty and segmentation losses, and each of them by name."""
        total, parts = tf.zeros(()), {}
        if self._penalty is not None:
            parts["penalty_loss"] = self._penalty(image, mask, probability, self._step(), training)
            total += self._penalty_weight * parts["penalty_loss"]
        for name, weight in self.loss_weights.items():
            prediction = logits if name in ON_LOGITS else probability
            parts[f"{name}_loss"] = value = self._loss_functions[name](mask, prediction)
            total += weight * value
        return total, parts

    def _adversarial_losses(self, image, mask, fake, training):
        """Return the generator's weighted loss, the discriminator's, and what to log of them."""
        settings, discriminator = self._settings, self._discriminators[training]
        real, fake = (
            discriminator([image, each], training=training) for each in (to_signed_mask(mask), fake)
        )
        if settings["feature_matching"]:
            (real, *real_features), (fake, *fake_features) = real, fake
        real, fake = tf.cast(real, tf.float32), tf.cast(fake, tf.float32)
        smoothing = [settings["label_smoothing"]] if settings["label_smoothing"] else []
        adversarial_loss, discriminator_loss = ADVERSARIAL[settings["adversarial"]](
            real, fake, *smoothing
        )
        total, parts = self.adversarial_weight * adversarial_loss, {}
        parts["adversarial_loss"] = adversarial_loss
        if settings["feature_matching"]:
            parts["feature_loss"] = feature_matching_loss(real_features, fake_features)
            total += settings["feature_matching"] * parts["feature_loss"]
        threshold = THRESHOLDS.get(settings["adversarial"])
        if threshold is not None:
            parts["discriminator_accuracy"] = accuracy(real, fake, threshold)
        return total, discriminator_loss, parts

    def _discriminator_penalties(self, image, mask, fake):
        """Return the weighted penalties on the norm of the discriminator's gradient."""

        def score(image, mask):
            return tf.cast(self._trained_discriminator([image, mask], training=True), tf.float32)

        real = to_signed_mask(mask)
        return gradient_norm_penalties(score, image, real, fake, self._settings, self._step())

    def _key(self):
        """Return the key of what is random in this step."""
        seed = int((self.recipe or {}).get("seed") or 0) % 2**31
        return tf.stack([tf.constant(seed), self._step()])

    def _step(self):
        return tf.cast(self.optimizer.iterations, tf.int32)

    def _after_warmup(self):
        """Return 0 while the discriminator learns alone, and 1 from then on."""
        wait = self._settings["discriminator_warmup"]
        return tf.cast(self._step() >= wait, tf.float32) if wait else 1.0

    def _log(self, mask, probability, generator_loss, parts, fraction, free_fraction=None):
        unlabelled = self._unlabelled.names if self._unlabelled else ()
        for name, value in {"generator_loss": generator_loss, **parts}.items():
            # Else TensorFlow adds the parts of a sum to the running total one by one, in an order
            # that is not the same in every process.
            value = tf.reduce_sum(tf.stack([value, tf.zeros_like(value)]))
            share = free_fraction if name in unlabelled else fraction
            self._means[name].update_state(value, share)
        for metric in self._overlaps:
            counts = tf.fill(tf.shape(mask)[:1], tf.cast(fraction > 0, tf.float32))
            metric.update_state(mask, probability, counts)
        return replicas.reduce_metrics(self.metrics)

    # --- Saving ---

    def save(self, filepath, overwrite: bool = True, options=None, **kwargs):
        """Write both networks, both optimizers, the compile settings and the recipe to a folder.

        The folder holds `kerasgan.json`, which says how the networks are built, and their weights
        in `generator.safetensors` and `discriminator.safetensors`, those of the optimizers in
        `optimizers.safetensors`; it opens on Keras 2 and Keras 3 alike. A network that no function
        of `kerasgan.models` built, or that was changed since, is written as `generator.keras` too,
        which opens on the Keras that wrote it. The folder is written beside the old one first and
        then exchanged, so an interrupted save loses nothing.

        Args:
            filepath: the folder; made if missing.
            overwrite: whether an earlier model in that folder may be replaced. A folder that holds
                anything else is never touched.
            options: accepted because Keras' callbacks pass it; not used.
            **kwargs: likewise.

        Raises:
            KerasganError: if the folder exists and may not be replaced, or cannot be written.

        Example:
            >>> import tempfile
            >>> import kerasgan as kg
            >>> gan = kg.recipes.build("pix2pix", size=32, filters=2)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     gan.save(f"{folder}/model")
            ...     again = kg.SegmentationGAN.load(f"{folder}/model")
            >>> again.recipe["name"]
            'pix2pix'
        """
        store.save_model(self, filepath, overwrite)

    @classmethod
    def load(cls, filepath, custom_objects=None, build=None) -> SegmentationGAN:
        """Load what `save` wrote, ready to predict and to train on.

        Where the other Keras wrote it, optimizers go on too, but for those that keep other numbers
        there, such as Nadam: they start afresh, which `fit` says by a `KerasganWarning`.

        Args:
            filepath: the folder.
            custom_objects: classes and functions of yours, by name, that the networks are made of
                beside the layers of Keras, tensorflow-addons and kerasgan; nothing else is made.
                Losses of yours likewise: without them the model predicts, but is not compiled,
                which is a warning.
            build: for networks of your own, to load them on the other Keras too: the function
                without arguments that builds the generator; or such functions by `"generator"` and
                `"discriminator"`. The weights come from the folder.

        Returns:
            A `SegmentationGAN`, compiled if the saved one was.

        Raises:
            KerasganError: if the folder does not hold a saved model, a part of it is broken, a
                network has a layer that is not known, or a `Lambda`, is of the other Keras, or not
                the one that `build` builds.
        """
        return store.load_model(cls, filepath, custom_objects, build)

    def compile_settings(self) -> dict | None:
        """Return what `compile` was called with, as plain data for a JSON file; None before it."""
        if not self.compiled:
            return None
        return {**self._settings, **optimizers.serialize_optimizers(self._rates)}

    def _networks(self):
        """Return every network whose weights a step changes."""
        networks = [self.generator, self._trained_generator]
        networks += [self.discriminator, self._trained_discriminator]
        networks += self._unlabelled.critics.values() if self._unlabelled else []
        return [x for i, x in enumerate(networks) if x is not None and x not in networks[:i]]


def _with_data_for_keras(gan, method):
    """Make `fit` or `evaluate` of Keras read generators once, and spread batches over devices."""
    distributed = replicas.distribute_evenly(gan, method)

    def run(x=None, y=None, **options):
        x = inspection.read_once_dataset(gan.generator, x)
        if isinstance(x, tf.data.Dataset) and method.__name__ == "fit":
            options.setdefault("shuffle", False)  # or Keras 3 warns that it cannot
        with guards.silence_end_of_data(options):
            return distributed(x, y, **options)

    return run


def _plain_containers(value):
    """Undo how Keras wraps a dict or list that a model is given as an attribute."""
    if isinstance(value, dict):
        return {name: _plain_containers(part) for name, part in value.items()}
    return [_plain_containers(part) for part in value] if isinstance(value, list) else value
