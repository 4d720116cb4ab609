"""A generator that segments and a discriminator that judges it, trained together."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

import keras
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.models.outputs import to_probability, to_signed_mask, with_logits
from kerasgan.models.preprocess import get_preprocess, set_preprocess
from kerasgan.training import feed, replicas, store, workers
from kerasgan.training import resume as runs
from kerasgan.training.adversarial import (
    ADVERSARIAL,
    THRESHOLDS,
    accuracy,
    check_adversarial,
    expose_features,
    feature_matching_loss,
    gradient_norm_penalties,
)
from kerasgan.training.batch_checker import NO_WEIGHTS
from kerasgan.training.checks import (
    check_generator,
    check_keras_arguments,
    check_networks,
    check_penalty,
    check_scaling,
    check_settings,
    check_xla,
)
from kerasgan.training.guards import (
    CosineSchedule,
    NonFiniteGuard,
    silence_end_of_data,
    silence_slow_callbacks,
)
from kerasgan.training.inspection import (
    EMPTY,
    cast_batch,
    check_batches,
    check_validation_data,
    read_once_dataset,
    unwrap_errors,
)
from kerasgan.training.learner import clone_with_precision, ramped_momentum, update_ema
from kerasgan.training.losses import ON_LOGITS, named_losses
from kerasgan.training.metrics import Dice, Jaccard
from kerasgan.training.optimizers import (
    apply_gradients,
    build_optimizer,
    make_optimizers,
    peak_learning_rate,
    scale_loss,
    serialize_optimizers,
)
from kerasgan.training.record import Record

__all__ = ["SegmentationGAN"]


def _behind_data(step):
    """Let no variable change before the batch is there.

    Keras 3 finds out by a step that fails that a dataset of unknown length has ended; counters,
    which do not depend on the batch, would count it.
    """

    @functools.wraps(step)
    def waiting(self, data):
        with tf.control_dependencies([x for x in tf.nest.flatten(data) if tf.is_tensor(x)]):
            return step(self, data)

    return waiting


class SegmentationGAN(keras.Model):
    """A segmentation network trained against a discriminator, as any Keras model.

    One step runs the generator forward once and the discriminator once on the true and once on the
    drawn masks; both networks then move at the same time, each by its own gradient. Masks are
    {0, 1} outside; the discriminator sees them in [-1, 1], like the image.

    `fit`, `evaluate`, `predict` and Keras' callbacks work as usual. Logged are `generator_loss`
    (the weighted sum), its parts (`l1_loss`, `adversarial_loss`), `discriminator_loss`,
    `discriminator_accuracy` (the share of true and drawn masks that it tells right), `jaccard` and
    `dice` (mean over images, at network size), with `val_` before it for validation data.
    `optimizer`, which learning-rate callbacks act on, is the generator's.

    `generator` is always the network that predicts, in float32. Where its weights are a moving
    average, or training computes in another precision, a twin of it takes the gradients.

    Args:
        generator: functional `keras.Model`, image (batch, height, width, channels) in [-1, 1] ->
            mask (batch, height, width, classes), ending in tanh, sigmoid, softmax or a logit.
        discriminator: functional `keras.Model`, [image, mask in [-1, 1]] -> logits of "drawn by a
            person", any shape; None trains the generator alone.

    Raises:
        KerasganError: if the networks do not fit together.

    Example:
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> generator = kg.models.pix2pix_generator(size=32, filters=2)
        >>> discriminator = kg.models.patch_discriminator(size=32, filters=2)
        >>> gan = kg.SegmentationGAN(generator, discriminator)
        >>> gan.compile(losses={"l1": 100.0})
        >>> images, masks = np.zeros((4, 32, 32, 3), "float32"), np.ones((4, 32, 32, 1), "float32")
        >>> history = gan.fit(images, masks, batch_size=2, epochs=1, verbose=0)
        >>> sorted(history.history)[:3]
        ['adversarial_loss', 'dice', 'discriminator_accuracy']

    Source: arXiv 2111.01665; Isola et al. 2017 (arXiv 1611.07004).
    """

    def __init__(self, generator: keras.Model, discriminator: keras.Model | None = None, **kwargs):
        super().__init__(**kwargs)
        self.activation = check_generator(generator).activation
        if discriminator is not None:
            check_networks(generator, discriminator)
        self.generator = generator
        self.discriminator = discriminator
        self.recipe = None
        vars(self)["fits"] = []  # plain, not tracked by Keras
        self.built = True
        self.compiled = False
        self._passes_over = False
        self.distribute_reduction_method = "first"  # each device logs what holds for all

    @property
    def recipe(self) -> dict | None:
        """Settings that it was built with, as `kerasgan.recipes.Recipe` takes them, or None."""
        return vars(self).get("_recipe")

    @recipe.setter
    def recipe(self, value):
        vars(self)["_recipe"] = _as_given(value)

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
                discriminator's hidden activations for true and drawn masks, from 0 up.
            gradient_penalty: weight in the discriminator's loss of (slope - 1)^2 between true and
                drawn masks, from 0 up.
            r1: weight in the discriminator's loss of half the squared slope at true masks, from 0
                up.
            label_smoothing: true masks are labelled 1 less this for the discriminator, in [0, 1).
            discriminator_warmup: first steps in which the discriminator learns without yet moving
                the generator.
            schedule: of both learning rates over the run: `"constant"`, or `"cosine"` down to 0.
            warmup: share of the steps in which a cosine schedule rises first, in [0, 1).
            ema_momentum: of the moving average of the generator's weights, in [0, 1); it predicts
                in place of the last weights. 0 for none. Early on the average is shorter.
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

        Raises:
            KerasganError: if a name is unknown, a number out of range, or a loss of yours cannot
                be used.

        Example:
            >>> import kerasgan as kg
            >>> gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=2))
            >>> gan.compile("adam", losses={"cross_entropy": 1.0, "dice": 1.0}, ema_momentum=0.99)
        """
        check_keras_arguments(kwargs, inspect.signature(type(self).compile).parameters)
        if kwargs.get("jit_compile") in (None, "auto"):  # Keras 3 would choose XLA on a GPU
            kwargs["jit_compile"] = False
        losses = {"l1": 100.0} if losses is None else losses
        self._loss_functions, losses = named_losses(
            losses, self.generator.output_shape[1:], bool(kwargs.get("run_eagerly"))
        )
        check_xla(kwargs.get("jit_compile"), losses)
        check_adversarial(adversarial, label_smoothing)
        weights = {
            "adversarial_weight": adversarial_weight,
            "feature_matching": feature_matching,
            "gradient_penalty": gradient_penalty,
            "r1": r1,
            "discriminator_warmup": discriminator_warmup,
        }
        shares = {"label_smoothing": label_smoothing, "warmup": warmup}
        shares["ema_momentum"] = ema_momentum
        check_settings({**weights, "penalty_weight": penalty_weight}, shares, schedule)
        check_penalty(penalty)
        if self.discriminator is None:
            weights["adversarial_weight"] = 0.0
        if not (any(losses.values()) or weights["adversarial_weight"] or penalty):
            raise KerasganError(
                "There is nothing to learn from: every weight in 'losses' is 0, and there is "
                "neither an adversarial loss nor a penalty"
            )
        replicas.check_scope(self, optimizer, discriminator_optimizer)
        optimizers = make_optimizers(optimizer, discriminator_optimizer, precision)
        learns_apart = ema_momentum or precision != "float32"
        self._learner = (
            clone_with_precision(self.generator, precision) if learns_apart else self.generator
        )
        self._drawn = with_logits(self.generator), with_logits(self._learner)
        super().compile(optimizer=optimizers[0], **kwargs)
        self.discriminator_optimizer, self._critic = None, self.discriminator
        build_optimizer(self.optimizer, self._learner.trainable_variables)
        if weights["adversarial_weight"]:
            self.discriminator_optimizer = optimizers[1]
            if precision != "float32":
                self._critic = clone_with_precision(self.discriminator, precision)
            build_optimizer(self.discriminator_optimizer, self._critic.trainable_variables)
            judges = self.discriminator, self._critic
            self._judges = [expose_features(each) if feature_matching else each for each in judges]
        if replicas.is_distributed():
            for network in self._networks():
                replicas.synchronize_batch_norm(network, sync_batch_norm)
        self._penalty = penalty(self._learner) if penalty and penalty_weight else None
        self._penalty_weight = float(penalty_weight)
        self.loss_weights = losses
        self.adversarial_weight = float(weights["adversarial_weight"])
        self._settings = {
            "losses": losses,
            "adversarial": adversarial,
            "schedule": schedule,
            "precision": precision,
            "sync_batch_norm": sync_batch_norm,
            "jit_compile": bool(self.jit_compile),
            **weights,
            **shares,
        }
        self._rates = [
            (each, peak_learning_rate(each, schedule))
            for each in (self.optimizer, self.discriminator_optimizer)
            if each is not None
        ]
        names = ["generator_loss", *(f"{name}_loss" for name in losses)]
        names += ["penalty_loss"] * (self._penalty is not None)
        if self.adversarial_weight:
            names += ["adversarial_loss", "discriminator_loss"]
            names += ["feature_loss"] * bool(feature_matching)
            names += ["discriminator_accuracy"] * (adversarial in THRESHOLDS)
        self._means = {name: keras.metrics.Mean(name) for name in names}
        self._overlaps = [Jaccard(), Dice()]
        penalties = {"penalty": penalty, "penalty_weight": penalty_weight}
        self.compiled = True
        vars(self)["_as_compiled"] = {**self.compile_settings(), **penalties}

    @property
    def metrics(self):
        """The Keras metrics reset at the start of each epoch."""
        if not self.compiled:
            return []
        return [*self._means.values(), *self._overlaps]

    # --- Running ---

    def call(self, inputs, training=None):
        """Return the generator's output, as it is, for a batch of images."""
        return self.generator(inputs, training=training)

    @workers.explain_lost_workers
    @silence_slow_callbacks()
    @unwrap_errors()
    def fit(self, x=None, y=None, *, resume=None, initial_epoch=0, callbacks=None, **kwargs):
        """Train; as `keras.Model.fit`, and able to go on where an earlier run stopped.

        Args:
            x: what Keras takes; usually `samples.batches(...)`.
            y: masks, where `x` is an array of images.
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
                folder holds the state of other networks, settings or data, or cannot be written.
        """
        self._check_compiled()
        store.warn_of_new_optimizers(self)
        check_scaling(self.generator)
        given, options = x, dict(kwargs)
        x, y = self._inspected(x, y, kwargs, kwargs.get("steps_per_epoch"))
        if kwargs.get("validation_data") is not None:
            steps = kwargs.get("validation_steps")
            kwargs["validation_data"] = check_validation_data(
                self.generator, kwargs["validation_data"], steps
            )
        record = Record(given if y is None else x, y, options)
        if get_preprocess(self.generator) is None:
            set_preprocess(self.generator)  # it learns to take what it is trained on
        callbacks = tf.nest.flatten([] if callbacks is None else callbacks)
        guards = [NonFiniteGuard()]
        if self._settings["schedule"] == "cosine":
            guards.append(CosineSchedule(self._settings["warmup"]))
        guards.append(record)
        self._set_out()
        fit = _as_datasets(self, super().fit)
        if resume is not None:
            history = runs.run(fit, self, x, y, resume, initial_epoch, guards, callbacks, kwargs)
        else:
            feed.set_position(x, initial_epoch)
            callbacks = [*guards, *callbacks]
            history = fit(x, y, initial_epoch=initial_epoch, callbacks=callbacks, **kwargs)
        record.close(callbacks)
        return history

    def _set_out(self):
        """Let what learns begin with the weights of the networks that the user holds."""
        averaged = self._settings["ema_momentum"] and self.optimizer.iterations.numpy() > 0
        for network, learner in (
            (self.generator, self._learner),
            (self.discriminator, self._critic),
        ):
            if learner is not network and not (averaged and learner is self._learner):
                learner.set_weights(network.get_weights())

    @unwrap_errors()
    def evaluate(self, x=None, y=None, batch_size=None, **kwargs):
        """Score; as `keras.Model.evaluate`.

        What `fit` validates on, with its own `CallbackList`, it has looked at before.
        """
        if not isinstance(kwargs.get("callbacks"), keras.callbacks.CallbackList):
            x, y = self._inspected(x, y, kwargs, kwargs.get("steps"))
        evaluate = _as_datasets(self, super().evaluate)
        scores = evaluate(x, y, batch_size=batch_size, **kwargs)
        if scores in ([], {}):
            raise KerasganError(EMPTY)
        return scores

    @unwrap_errors()
    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, **kwargs):
        """Move both networks by one batch; as `keras.Model.train_on_batch`."""
        weights = {"sample_weight": sample_weight, "class_weight": class_weight}
        x, y = self._inspected(x, y, weights)
        self._set_out()
        self._begin_anew(kwargs)
        return super().train_on_batch(x, y, **kwargs)

    def test_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        """Score one batch; as `keras.Model.test_on_batch`."""
        x, y = self._inspected(x, y, {"sample_weight": sample_weight})
        self._begin_anew(kwargs)
        return super().test_on_batch(x, y, **kwargs)

    def _begin_anew(self, options):
        """Let the scores be of one batch alone, which Keras 3 does since 3.12."""
        if options.get("reset_metrics", True):
            self.reset_metrics()

    def _check_compiled(self):
        if not self.compiled:
            raise KerasganError(
                "Call compile() before fit() or evaluate(), or build the GAN from a recipe"
            )

    def _inspected(self, x, y, options, steps=None):
        self._check_compiled()
        for name in ("sample_weight", "class_weight"):
            if options.get(name) is not None:
                raise KerasganError(NO_WEIGHTS.format(f"'{name}'"))
        return check_batches(self.generator, x, y, steps=steps)

    def make_train_function(self, force=False):
        """Return what `fit` calls for a step; it moves nothing while `_passes_over` is true.

        Args:
            force: whether to make it anew.
        """
        if self.train_function is None or force:
            super().make_train_function(force)
            step = replicas.run_on_all_machines(self, self.train_function, self.train_step)
            self.train_function = lambda data: (
                self.get_metrics_result() if self._passes_over else step(data)
            )
        return self.train_function

    def make_test_function(self, force=False):
        """Return what `evaluate` calls for a step.

        Args:
            force: whether to make it anew.
        """
        if self.test_function is None or force:
            super().make_test_function(force)
            step = replicas.run_on_all_machines(self, self.test_function, self.test_step)
            self.test_function = step
        return self.test_function

    @_behind_data
    def train_step(self, data):
        """Move both networks by one batch; called by `fit`."""
        image, mask, share = self._read(data)
        with tf.GradientTape() as generator_tape:
            probability, logits = self._draw(image, training=True)
            drawing = to_signed_mask(probability)
            total, parts = self._segmentation_loss(image, mask, probability, logits, training=True)
            shared = scale_loss(self.optimizer, replicas.weight_loss(total, share))
        targets, gradients = [shared], [tf.ones_like(shared)]
        if self.adversarial_weight:
            with tf.GradientTape(persistent=True) as judge_tape:
                judge_tape.watch(drawing)
                pull, judged, shown = self._adversarial_loss(image, mask, drawing, training=True)
                judged += self._penalties(image, mask, drawing)
                started = replicas.weight_loss(pull * self._started(), share)
                pulled = scale_loss(self.optimizer, started)
                part = replicas.weight_loss(judged, share)
                shared_judged = scale_loss(self.discriminator_optimizer, part)
            targets.append(drawing)
            gradients.append(judge_tape.gradient(pulled, drawing))
            weights = self._critic.trainable_variables
            slopes = judge_tape.gradient(shared_judged, weights)
            del judge_tape
            total += pull
            parts.update(shown, discriminator_loss=judged)
        variables = self._learner.trainable_variables
        gradients = generator_tape.gradient(targets, variables, output_gradients=gradients)
        apply_gradients(self.optimizer, gradients, variables)
        if self.adversarial_weight:
            apply_gradients(self.discriminator_optimizer, slopes, weights)
        if self._critic is not self.discriminator:
            update_ema(self.discriminator, self._critic)
        if self._learner is not self.generator:
            most = self._settings["ema_momentum"]
            update_ema(
                self.generator, self._learner, ramped_momentum(most, self._step()) if most else None
            )
        return self._log(mask, probability, total, parts, share)

    @_behind_data
    def test_step(self, data):
        """Score one batch, both networks in inference mode; called by `evaluate` and `fit`."""
        image, mask, share = self._read(data)
        probability, logits = self._draw(image, training=False)
        total, parts = self._segmentation_loss(image, mask, probability, logits, training=False)
        if self.adversarial_weight:
            drawing = to_signed_mask(probability)
            pull, judged, shown = self._adversarial_loss(image, mask, drawing, training=False)
            total += pull
            parts.update(shown, discriminator_loss=judged)
        return self._log(mask, probability, total, parts, share)

    def _read(self, data):
        image, mask, share = replicas.local_batch(data)
        return *cast_batch(image, mask, self.generator), share

    def _draw(self, image, training):
        """Return the probabilities and logits of the network that learns, or of what predicts."""
        output, logits = self._drawn[training](image, training=training)
        return to_probability(tf.cast(output, tf.float32), self.activation), logits

    def _segmentation_loss(self, image, mask, probability, logits, training):
        total, parts = tf.zeros(()), {}
        if self._penalty is not None:
            parts["penalty_loss"] = self._penalty(image, mask, probability, self._step(), training)
            total += self._penalty_weight * parts["penalty_loss"]
        for name, weight in self.loss_weights.items():
            drawn = logits if name in ON_LOGITS else probability
            parts[f"{name}_loss"] = value = self._loss_functions[name](mask, drawn)
            total += weight * value
        return total, parts

    def _adversarial_loss(self, image, mask, drawing, training):
        """Return what the generator and what the discriminator lose, and what to log of it."""
        settings, weight = self._settings, self.adversarial_weight
        judge = self._judges[training]
        outputs = [
            judge([image, shown], training=training) for shown in (to_signed_mask(mask), drawing)
        ]
        if settings["feature_matching"]:
            (true, *true_features), (drawn, *drawn_features) = outputs
        else:
            true, drawn = outputs
        true, drawn = tf.cast(true, tf.float32), tf.cast(drawn, tf.float32)
        smoothing = [settings["label_smoothing"]] if settings["label_smoothing"] else []
        fooled, judged = ADVERSARIAL[settings["adversarial"]](true, drawn, *smoothing)
        shown, pull = {"adversarial_loss": fooled}, weight * fooled
        if settings["feature_matching"]:
            shown["feature_loss"] = apart = feature_matching_loss(true_features, drawn_features)
            pull += settings["feature_matching"] * apart
        if settings["adversarial"] in THRESHOLDS:
            shown["discriminator_accuracy"] = accuracy(
                true, drawn, THRESHOLDS[settings["adversarial"]]
            )
        return pull, judged, shown

    def _penalties(self, image, mask, drawing):
        """Return what the discriminator loses for steep slopes."""

        def judge(image, drawing):
            return tf.cast(self._critic([image, drawing], training=True), tf.float32)

        true, weights = to_signed_mask(mask), self._settings
        return gradient_norm_penalties(judge, image, true, drawing, weights, self._step())

    def _step(self):
        return tf.cast(self.optimizer.iterations, tf.int32)

    def _started(self):
        wait = self._settings["discriminator_warmup"]
        return tf.cast(self._step() >= wait, tf.float32) if wait else 1.0

    def _log(self, mask, probability, total, parts, share):
        for name, value in {"generator_loss": total, **parts}.items():
            # Else TensorFlow adds the parts of a sum to the running total one by one, in an order
            # that is not the same in every process.
            value = tf.reduce_sum(tf.stack([value, tf.zeros_like(value)]))
            self._means[name].update_state(value, share)
        for metric in self._overlaps:
            counts = tf.fill(tf.shape(mask)[:1], tf.cast(share > 0, tf.float32))
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
        return {**self._settings, **serialize_optimizers(self._rates)}

    def _networks(self):
        """Return every network whose weights a step changes."""
        found = [self.generator, self._learner, self.discriminator, self._critic]
        return [x for i, x in enumerate(found) if x is not None and x not in found[:i]]


def _as_datasets(gan, method):
    """Make `fit` or `evaluate` of Keras read generators once, and deal batches to all devices."""
    dealt = replicas.distribute_evenly(gan, method)

    def on(x=None, y=None, **options):
        x = read_once_dataset(gan.generator, x)
        if isinstance(x, tf.data.Dataset) and method.__name__ == "fit":
            options.setdefault("shuffle", False)  # or Keras 3 warns that it cannot
        with silence_end_of_data(options):
            return dealt(x, y, **options)

    return on


def _as_given(value):
    """Undo what Keras makes of a dict or list that a model is given as an attribute."""
    if isinstance(value, dict):
        return {name: _as_given(part) for name, part in value.items()}
    return [_as_given(part) for part in value] if isinstance(value, list) else value
