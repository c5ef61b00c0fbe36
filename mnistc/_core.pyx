# cython: language_level=3, freethreading_compatible=False
"""The C core as Python sees it: checks, status to exception, the GIL released. No logic."""

import os

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

import numpy as np

cnp.import_array()

cdef object np_ndarray = np.ndarray

cdef extern from "mnistc.h" nogil:
    ctypedef enum mc_status:
        MC_OK
        MC_NO_MEMORY
        MC_BAD_SPEC
        MC_BAD_ARGUMENT
        MC_OUT_OF_RANGE
        MC_BUSY
    ctypedef struct mc_shape:
        int height
        int width
        int channels
    ctypedef struct mc_layer:
        int type
        int activation
        int units
        int kernel_height
        int kernel_width
        int groups
        int same_padding
        int pool_size
        int stride
        float rate
        float momentum
        float epsilon
    ctypedef struct mc_augment:
        float rotation
        float scale
        float aspect
        float shear
        float shift
        float elastic_alpha
        float elastic_sigma
        float thickness
        float erase
        float erase_size
        float noise
    ctypedef struct mc_train_spec:
        int batch_size
        int loss
        float label_smoothing
        int optimizer
        float momentum
        float beta_1
        float beta_2
        float epsilon
        int nesterov
        float weight_decay
        float clip_norm
        float ema_decay
        uint64_t seed
        int use_augment
        mc_augment augment
        int precision
        int scratch_fill
    ctypedef struct mc_train_data:
        const void *x
        int is_uint8
        const int32_t *classes
        const float *targets
        const float *sample_weight
        const int64_t *order
        size_t n_order
    ctypedef struct mc_train_result:
        double loss
        int64_t correct
        int finite
    ctypedef enum mc_range:
        MC_ALL
        MC_FINITE
        MC_PIXELS
    ctypedef struct mc_images:
        const void *x
        int is_uint8
        size_t n
        mc_range range
    ctypedef struct mc_net:
        pass
    ctypedef struct mc_trainer:
        pass
    ctypedef struct mc_kernels:
        pass
    int mc_kernels_available(const mc_kernels **out, int most)
    const mc_kernels *mc_kernels_find(const char *name)
    const mc_kernels *mc_kernels_best()
    const char *mc_kernels_name(const mc_kernels *kernels)
    const char *mc_cpu_feature(int index, int *has)
    mc_status mc_net_create(mc_net **out, mc_shape input, const mc_layer *layers, int n_layers,
                            const mc_kernels *kernels, int *bad_layer)
    void mc_net_destroy(mc_net *net)
    float *mc_net_parameters(mc_net *net, size_t *count)
    float *mc_net_state(mc_net *net, size_t *count)
    void mc_net_touch(mc_net *net)
    size_t mc_net_inputs(const mc_net *net)
    size_t mc_net_outputs(const mc_net *net)
    const mc_kernels *mc_net_kernels(const mc_net *net)
    void mc_net_initialize(mc_net *net, uint64_t seed)
    mc_status mc_net_predict(mc_net *net, const mc_images *images, int n_threads, float *out)
    mc_status mc_trainer_create(mc_trainer **out, mc_net *net, const mc_train_spec *spec)
    void mc_trainer_destroy(mc_trainer *trainer)
    mc_status mc_trainer_run(mc_trainer *trainer, const mc_train_data *data,
                             const float *learning_rates, uint32_t epoch, int n_threads,
                             mc_train_result *result)
    mc_status mc_trainer_gradients(mc_trainer *trainer, const mc_train_data *data, uint32_t epoch,
                                   int n_threads, float *gradient, mc_train_result *result)
    float *mc_trainer_array(mc_trainer *trainer, int which, size_t *count)
    int64_t mc_trainer_step(const mc_trainer *trainer)
    int mc_trainer_grain(const mc_trainer *trainer)
    void mc_trainer_set_step(mc_trainer *trainer, int64_t step)
    const char *mc_augment_check(const mc_augment *options, float *low, float *high)
    mc_status mc_augment_images(const mc_kernels *kernels, const mc_augment *options,
                                const void *images, int is_uint8, size_t n, mc_shape shape,
                                uint64_t seed, uint32_t epoch, float *out)

cdef extern from "rng.h" nogil:
    void mc_rng_uniform(uint64_t seed, uint64_t stream, float *out, size_t n)
    void mc_rng_permutation(uint64_t seed, uint64_t epoch, int64_t *out, size_t n)

cdef extern from "threads.h" nogil:
    int mc_cpu_count()

# In the order of the C enums.
cdef dict LAYER_TYPES = {name: i for i, name in enumerate((
    "dense", "conv2d", "depthwise_conv2d", "max_pool2d", "global_average_pool2d", "batch_norm",
    "dropout", "flatten", "activation"))}
cdef dict ACTIVATIONS = {name: i for i, name in enumerate((
    "linear", "relu", "sigmoid", "tanh", "softmax"))}
cdef dict LOSSES = {name: i for i, name in enumerate((
    "softmax_cross_entropy", "sigmoid_cross_entropy", "mean_squared_error"))}
cdef dict OPTIMIZERS = {"sgd": 0, "adam": 1, "adamw": 2}
cdef dict PRECISIONS = {"float32": 0, "bf16": 1}

cdef const mc_kernels *active = NULL  # until it is first asked for

cdef enum:
    PREDICT_CHUNK = 4096  # images predicted at a time, so that Ctrl-C is answered in between


cdef const mc_kernels *find_kernels(str name) except NULL:
    cdef const mc_kernels *found = mc_kernels_find(name.encode())
    if found == NULL:
        raise ValueError(f"kernel table {name!r} is not available on this machine; "
                         f"it can run {', '.join(available_kernels())}")
    return found


def available_kernels():
    cdef const mc_kernels *tables[16]
    cdef int n = mc_kernels_available(tables, 16)
    return [mc_kernels_name(tables[i]).decode() for i in range(n)]


cdef const mc_kernels *active_kernels() except NULL:
    global active
    if active == NULL:
        asked = os.environ.get("MNISTC_KERNELS", "")
        active = find_kernels(asked) if asked else mc_kernels_best()
    return active


def use_kernels(str name not None):
    global active
    active = find_kernels(name)


def kernels():
    return mc_kernels_name(active_kernels()).decode()


def cpu_features():
    cdef int index = 0, has = 0
    cdef const char *name = mc_cpu_feature(0, &has)
    found = {}
    while name != NULL:
        found[name.decode()] = bool(has)
        index += 1
        name = mc_cpu_feature(index, &has)
    return found


def default_threads():
    asked = os.environ.get("MNISTC_THREADS", "")
    if not asked:
        return mc_cpu_count()
    if not asked.isascii() or not asked.isdigit() or not 1 <= int(asked) <= 256:
        raise ValueError(f"MNISTC_THREADS must be a number from 1 to 256, got {asked!r}")
    return int(asked)


def uniform(uint64_t seed, uint64_t stream, size_t n):
    cdef cnp.ndarray out = np.empty(n, np.float32)
    mc_rng_uniform(seed, stream, <float *>cnp.PyArray_DATA(out), n)
    return out


def permutation(size_t n, uint64_t seed, uint64_t epoch):
    cdef cnp.ndarray out = np.empty(n, np.int64)
    mc_rng_permutation(seed, epoch, <int64_t *>cnp.PyArray_DATA(out), n)
    return out


cdef object check(mc_status status):
    if status == MC_OK:
        return None
    if status == MC_NO_MEMORY:
        raise MemoryError("the network and its buffers do not fit in memory")
    if status == MC_BUSY:
        raise RuntimeError("the network is in use by another thread")
    raise ValueError("an argument is out of range for this network")


cdef cnp.ndarray checked(str name, object array, int kind, size_t columns, size_t *n):
    """`array` as a C-contiguous array of `kind` with rows of `columns` (0: flat)."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(array).__name__}")
    cdef cnp.ndarray a = array
    if cnp.PyArray_TYPE(a) != kind or not cnp.PyArray_IS_C_CONTIGUOUS(a):
        raise TypeError(f"{name} must be C-contiguous and {np.dtype(kind_names[kind])}, "
                        f"got {a.dtype}")
    cdef size_t size = <size_t>cnp.PyArray_SIZE(a)
    cdef size_t rows = size
    if columns:
        if size % columns or (a.ndim and <size_t>a.shape[0] * columns != size):
            raise ValueError(f"{name} must have {columns} values per image, got shape {array.shape}")
        rows = size // columns
    n[0] = rows
    return a

cdef dict kind_names = {cnp.NPY_UINT8: "uint8", cnp.NPY_FLOAT32: "float32",
                        cnp.NPY_INT32: "int32", cnp.NPY_INT64: "int64"}

cdef cnp.ndarray view_of(object owner, float *data, size_t count):
    """A NumPy array over memory of `owner`, which it keeps alive."""
    cdef cnp.npy_intp shape = <cnp.npy_intp>count
    cdef cnp.ndarray a = cnp.PyArray_SimpleNewFromData(1, &shape, cnp.NPY_FLOAT32, data)
    cnp.set_array_base(a, owner)
    return a


cdef mc_layer layer_struct(dict config) except *:
    cdef mc_layer layer
    kernel = config.get("kernel_size", (1, 1))
    if not isinstance(kernel, (tuple, list)):
        kernel = (kernel, kernel)
    layer.type = LAYER_TYPES[config["type"]]
    layer.activation = ACTIVATIONS[config.get("activation") or "linear"]
    layer.units = config.get("units", config.get("filters", 0))
    layer.groups = config.get("groups", 1)
    layer.kernel_height, layer.kernel_width = kernel
    layer.same_padding = config.get("padding") == "same"
    layer.pool_size = config.get("pool_size", 0)
    layer.stride = config.get("strides") or layer.pool_size
    layer.rate = config.get("rate", 0.0)
    layer.momentum = config.get("momentum", 0.0)
    layer.epsilon = config.get("epsilon", 1e-3)
    return layer


cdef class Network:
    cdef mc_net *net
    cdef size_t inputs, outputs
    cdef mc_shape shape
    cdef readonly int threads

    def __cinit__(self, input_shape, list layers not None):
        cdef mc_shape shape
        shape.height, shape.width, shape.channels = input_shape
        cdef int n = len(layers), bad = -1
        cdef mc_layer *table = <mc_layer *>malloc(max(n, 1) * sizeof(mc_layer))
        if table == NULL:
            raise MemoryError
        cdef mc_status status
        try:
            for i in range(n):
                table[i] = layer_struct(layers[i])
            status = mc_net_create(&self.net, shape, table, n, active_kernels(), &bad)
        finally:
            free(table)
        if status == MC_BAD_SPEC:
            what = "the input" if bad < 0 else f"layer {bad} ({layers[bad]['type']})"
            raise ValueError(f"{what} does not fit: a size is out of range or a window is larger "
                             "than its input")
        if status == MC_BAD_ARGUMENT:
            raise ValueError(f"a network needs 1 to 1000 layers, got {n}")
        check(status)
        self.shape = shape
        self.inputs = mc_net_inputs(self.net)
        self.outputs = mc_net_outputs(self.net)
        self.threads = default_threads()

    def __dealloc__(self):
        mc_net_destroy(self.net)

    @property
    def kernels(self):
        return mc_kernels_name(mc_net_kernels(self.net)).decode()

    @property
    def n_inputs(self):
        return self.inputs

    @property
    def n_outputs(self):
        return self.outputs

    @property
    def parameters(self):
        cdef size_t count = 0
        cdef float *data = mc_net_parameters(self.net, &count)
        mc_net_touch(self.net)  # the caller may write
        return view_of(self, data, count)

    @property
    def state(self):
        cdef size_t count = 0
        cdef float *data = mc_net_state(self.net, &count)
        mc_net_touch(self.net)
        return view_of(self, data, count)

    @property
    def n_parameters(self):
        cdef size_t count = 0
        mc_net_parameters(self.net, &count)
        return count

    @property
    def n_state(self):
        cdef size_t count = 0
        mc_net_state(self.net, &count)
        return count

    def initialize(self, uint64_t seed):
        mc_net_initialize(self.net, seed)

    def predict_ready(self, x, int n_threads=0, bint check_range=True):
        if type(x) is not np_ndarray:
            return None
        cdef cnp.ndarray a = x
        cdef cnp.npy_intp *size = cnp.PyArray_DIMS(a)
        cdef int ndim = cnp.PyArray_NDIM(a)
        if ndim == 2:
            if size[1] != <cnp.npy_intp>self.inputs:
                return None
        elif not (3 <= ndim <= 4 and size[1] == self.shape.height and size[2] == self.shape.width
                  and (size[3] if ndim == 4 else 1) == self.shape.channels):
            return None
        if size[0] < 1 or not cnp.PyArray_ISCARRAY_RO(a):
            return None
        if cnp.PyArray_TYPE(a) != cnp.NPY_FLOAT32 and cnp.PyArray_TYPE(a) != cnp.NPY_UINT8:
            return None
        return self.run(a, n_threads, MC_PIXELS if check_range else MC_FINITE)

    def predict(self, cnp.ndarray x not None, int n_threads=0):
        return self.run(x, n_threads, MC_ALL)

    cdef cnp.ndarray run(self, cnp.ndarray x, int n_threads, mc_range floats):
        """Outputs, or None if there are floats that are not accepted."""
        cdef int is_uint8 = cnp.PyArray_TYPE(x) == cnp.NPY_UINT8
        if not (is_uint8 or cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32) or not (
            cnp.PyArray_ISCARRAY_RO(x)
        ):
            raise TypeError(f"x must be C-contiguous, aligned, and uint8 or float32, got {x.dtype}")
        cdef size_t size = <size_t>cnp.PyArray_SIZE(x)
        cdef size_t n = size // self.inputs, done = 0
        if n * self.inputs != size:
            raise ValueError(f"x must have {self.inputs} values per image, got {size} values")
        cdef cnp.npy_intp shape[2]
        shape[0] = <cnp.npy_intp>n
        shape[1] = <cnp.npy_intp>self.outputs
        cdef cnp.ndarray out = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT32, 0)
        cdef float *y = <float *>cnp.PyArray_DATA(out)
        cdef const char *data = <const char *>cnp.PyArray_DATA(x)
        cdef size_t image_bytes = self.inputs * (1 if is_uint8 else sizeof(float))
        cdef mc_images images
        images.is_uint8, images.range = is_uint8, floats
        cdef mc_status status
        if not 0 <= n_threads <= 256:
            raise ValueError(f"n_threads must be between 0 and 256, got {n_threads}")
        if n_threads == 0:
            n_threads = self.threads
        while done < n:
            images.x = data + done * image_bytes
            images.n = min(n - done, <size_t>PREDICT_CHUNK)
            with nogil:
                status = mc_net_predict(self.net, &images, n_threads, y + done * self.outputs)
            if status == MC_OUT_OF_RANGE:
                return None
            if status != MC_OK:
                check(status)
            done += images.n
            if done < n:
                PyErr_CheckSignals()
        return out


cdef mc_augment augment_struct(dict options) except *:
    known = {"rotation", "scale", "aspect", "shear", "shift", "elastic_alpha", "elastic_sigma",
             "thickness", "erase", "erase_size", "noise"}
    unknown = sorted(set(options) - known)
    if unknown:
        raise ValueError(f"augment has no option {unknown[0]!r}; it has {', '.join(sorted(known))}")
    cdef mc_augment a
    a.rotation = options.get("rotation", 0.0)
    a.scale = options.get("scale", 0.0)
    a.aspect = options.get("aspect", 0.0)
    a.shear = options.get("shear", 0.0)
    a.shift = options.get("shift", 0.0)
    a.elastic_alpha = options.get("elastic_alpha", 0.0)
    a.elastic_sigma = options.get("elastic_sigma", 4.0)
    a.thickness = options.get("thickness", 0.0)
    a.erase = options.get("erase", 0.0)
    a.erase_size = options.get("erase_size", 0.0)
    a.noise = options.get("noise", 0.0)
    cdef float low = 0.0, high = 0.0
    cdef const char *bad = mc_augment_check(&a, &low, &high)
    if bad != NULL:
        name = bad.decode()
        raise ValueError(f"augment option {name} must be from {low:g} to {high:g}, "
                         f"got {options.get(name)}")
    return a


def augment(cnp.ndarray images not None, dict options not None, uint64_t seed=0, uint32_t epoch=0):
    cdef mc_augment a = augment_struct(options)
    cdef int is_uint8 = cnp.PyArray_TYPE(images) == cnp.NPY_UINT8
    if not (is_uint8 or cnp.PyArray_TYPE(images) == cnp.NPY_FLOAT32) or not (
        cnp.PyArray_IS_C_CONTIGUOUS(images)
    ):
        raise TypeError(f"images must be C-contiguous uint8 or float32, got {images.dtype}")
    if images.ndim != 3 and images.ndim != 4:
        raise ValueError("images must have shape (n, h, w) or (n, h, w, channels), "
                         f"got {(<object>images).shape}")
    cdef mc_shape shape
    shape.height, shape.width = images.shape[1], images.shape[2]
    shape.channels = images.shape[3] if images.ndim == 4 else 1
    cdef cnp.ndarray out = np.empty((<object>images).shape, np.float32)
    cdef const void *data = cnp.PyArray_DATA(images)
    cdef float *to = <float *>cnp.PyArray_DATA(out)
    cdef const mc_kernels *table = active_kernels()
    cdef size_t n = images.shape[0]
    cdef mc_status status = MC_OK
    if n:
        with nogil:
            status = mc_augment_images(table, &a, data, is_uint8, n, shape, seed, epoch, to)
    if status == MC_BAD_ARGUMENT:
        raise ValueError("images must have sides and channels from 1 to 4096, "
                         f"got {(<object>images).shape}")
    check(status)
    return out


cdef class Trainer:
    cdef mc_trainer *trainer
    cdef readonly Network network
    cdef readonly int batch_size

    def __cinit__(self, Network network not None, *, int batch_size, str loss not None,
                  float label_smoothing=0.0, str optimizer not None="sgd", float momentum=0.0,
                  bint nesterov=False, float beta_1=0.9, float beta_2=0.999, float epsilon=1e-7,
                  float weight_decay=0.0, float clip_norm=0.0, float ema_decay=0.0,
                  uint64_t seed=0, augment=None, str precision="float32", int scratch_fill=-1):
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        cdef mc_train_spec spec
        spec.batch_size = batch_size
        spec.loss = LOSSES[loss]
        spec.label_smoothing = label_smoothing
        spec.optimizer = OPTIMIZERS[optimizer]
        spec.momentum = momentum
        spec.nesterov = nesterov
        spec.beta_1 = beta_1
        spec.beta_2 = beta_2
        spec.epsilon = epsilon
        spec.weight_decay = weight_decay
        spec.clip_norm = clip_norm
        spec.ema_decay = ema_decay
        spec.seed = seed
        spec.use_augment = augment is not None
        spec.augment = augment_struct(augment or {})
        spec.precision = PRECISIONS[precision]
        spec.scratch_fill = scratch_fill
        self.network = network
        self.batch_size = batch_size
        cdef mc_status status = mc_trainer_create(&self.trainer, network.net, &spec)
        if status == MC_BAD_ARGUMENT:
            raise ValueError(f"loss {loss!r} does not fit the last layers, or a training option "
                             "is out of range")
        check(status)

    def __dealloc__(self):
        mc_trainer_destroy(self.trainer)

    cdef object prepare(self, mc_train_data *data, x, targets, sample_weight, order):
        """Fill `data` from checked arrays; returns them, to be kept alive."""
        cdef size_t n = 0, m = 0
        cdef size_t outputs = self.network.outputs
        data.is_uint8 = isinstance(x, np.ndarray) and x.dtype == np.uint8
        cdef cnp.ndarray xa = checked("x", x, cnp.NPY_UINT8 if data.is_uint8 else cnp.NPY_FLOAT32,
                                      self.network.inputs, &n)
        data.x = cnp.PyArray_DATA(xa)
        cdef cnp.ndarray ta
        data.classes = NULL
        data.targets = NULL
        if isinstance(targets, np.ndarray) and targets.dtype == np.int32:
            ta = checked("targets", targets, cnp.NPY_INT32, 0, &m)
            data.classes = <const int32_t *>cnp.PyArray_DATA(ta)
        else:
            ta = checked("targets", targets, cnp.NPY_FLOAT32, outputs, &m)
            data.targets = <const float *>cnp.PyArray_DATA(ta)
        if m != n:
            raise ValueError(f"x has {n} images but targets {m}")
        cdef cnp.ndarray wa = None
        data.sample_weight = NULL
        if sample_weight is not None:
            wa = checked("sample_weight", sample_weight, cnp.NPY_FLOAT32, 0, &m)
            if m != n:
                raise ValueError(f"x has {n} images but sample_weight {m} values")
            data.sample_weight = <const float *>cnp.PyArray_DATA(wa)
        cdef cnp.ndarray oa = checked("order", order, cnp.NPY_INT64, 0, &m)
        if m and (order.min() < 0 or order.max() >= n):
            raise ValueError(f"order must hold indices from 0 to {n - 1}")
        data.order = <const int64_t *>cnp.PyArray_DATA(oa)
        data.n_order = m
        return xa, ta, wa, oa

    def run(self, x, targets, sample_weight, order, learning_rates, uint32_t epoch,
            int n_threads=0):
        cdef mc_train_data data
        cdef mc_train_result result
        cdef mc_status status
        keep = self.prepare(&data, x, targets, sample_weight, order)
        cdef size_t n = 0
        cdef cnp.ndarray rates = checked("learning_rates", learning_rates, cnp.NPY_FLOAT32, 0, &n)
        steps = (data.n_order + self.batch_size - 1) // self.batch_size
        if n != steps:
            raise ValueError(f"learning_rates must have one rate for each of {steps} steps, got {n}")
        cdef const float *rate = <const float *>cnp.PyArray_DATA(rates)
        if n_threads <= 0:
            n_threads = self.network.threads
        with nogil:
            status = mc_trainer_run(self.trainer, &data, rate, epoch, n_threads, &result)
        check(status)
        return result.loss, result.correct, bool(result.finite)

    def gradients(self, x, targets, sample_weight=None, uint32_t epoch=0, int n_threads=0):
        cdef mc_train_data data
        cdef mc_train_result result
        cdef mc_status status
        keep = self.prepare(&data, x, targets, sample_weight, np.arange(len(x), dtype=np.int64))
        if not 1 <= data.n_order <= <size_t>self.batch_size:
            raise ValueError(f"x must have 1 to {self.batch_size} images, got {data.n_order}")
        cdef cnp.ndarray out = np.empty(self.network.n_parameters, np.float32)
        cdef float *gradient = <float *>cnp.PyArray_DATA(out)
        if n_threads <= 0:
            n_threads = self.network.threads
        with nogil:
            status = mc_trainer_gradients(self.trainer, &data, epoch, n_threads, gradient, &result)
        check(status)
        return result.loss / data.n_order, out

    @property
    def grain(self):
        return mc_trainer_grain(self.trainer)

    cdef object array(self, int which):
        cdef size_t count = 0
        cdef float *data = mc_trainer_array(self.trainer, which, &count)
        return None if data == NULL else view_of(self, data, count)

    @property
    def ema(self):
        return self.array(2)

    @property
    def ema_state(self):
        return self.array(3)

    @property
    def step(self):
        return mc_trainer_step(self.trainer)

    @step.setter
    def step(self, int64_t value):
        mc_trainer_set_step(self.trainer, value)

    def state_dict(self):
        state = {"step": self.step}
        for which, name in enumerate(("m", "v", "ema", "ema_state")):
            array = self.array(which)
            if array is not None:
                state[name] = array.copy()
        return state

    def load_state_dict(self, dict state not None):
        for which, name in enumerate(("m", "v", "ema", "ema_state")):
            array = self.array(which)
            if (array is None) != (name not in state):
                raise ValueError(f"state {'lacks' if array is not None else 'has a surplus'} {name!r}: "
                                 "it is of another training")
            if array is not None:
                given = np.asarray(state[name], np.float32)
                if given.shape != array.shape:
                    raise ValueError(f"state {name!r} must have shape {array.shape}, got {given.shape}")
                array[:] = given
        self.step = state["step"]
