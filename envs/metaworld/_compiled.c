/* The arithmetic of a step in C, equal to the last bit to `exact_scalars` and `advance`.
 *
 * Python is the definition. Each primitive here does the same operations in the same order as the
 * one of the same name there, for most arguments that tasks give, and hands all others to it. So the
 * compiler must not fuse a product into a sum: setup.py says so. Without a compiler nothing is lost
 * but time.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#include <math.h>
#include <numpy/arrayobject.h>
#include <numpy/arrayscalars.h>
#include <string.h>

static const double SQUARABLE = 1e150;
/* Python's `**`. A compiler that sees `pow` makes x * x of a square, which is another number. */
static double (*volatile power)(double, double) = pow;

/* What `install` was given: constants as Python computed them, and Python's functions. */
static double value_at_margin, long_tail;
enum { NORM, TOLERANCE, HAMACHER_PRODUCT, MATRIX_TO_QUAT, MIDDLE, CAGED, N_PYTHON };
static PyObject *python[N_PYTHON];

static PyObject *hand_on(int function, PyObject *const *args, Py_ssize_t n, PyObject *names) {
    if (python[function]) return PyObject_Vectorcall(python[function], args, n, names);
    PyErr_SetString(PyExc_RuntimeError, "call install() first");
    return NULL;
}

/* ---- what an argument is ------------------------------------------------------------------- */

static int is_float64(PyObject *x) { return Py_TYPE(x) == &PyDoubleArrType_Type; }
static int is_float(PyObject *x) { return PyFloat_CheckExact(x) || is_float64(x); }

/* A bound may be an int as well. */
static int as_bound(PyObject *x, double *value) {
    if (is_float(x)) {
        *value = PyFloat_AS_DOUBLE(x);
        return 1;
    }
    if (!PyLong_CheckExact(x)) return 0;
    *value = PyLong_AsDouble(x);
    if (*value == -1.0 && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return fabs(*value) < 9e15; /* below 2**53 a double holds every int exactly */
}

static int is_vector(PyObject *x, npy_intp least, npy_intp most) {
    if (Py_TYPE(x) != &PyArray_Type) return 0;
    PyArrayObject *array = (PyArrayObject *)x;
    return PyArray_NDIM(array) == 1 && PyArray_TYPE(array) == NPY_DOUBLE &&
           PyArray_ISBEHAVED_RO(array) && PyArray_DIM(array, 0) >= least &&
           PyArray_DIM(array, 0) <= most;
}

static double at(PyObject *vector, npy_intp i) {
    return *(const double *)PyArray_GETPTR1((PyArrayObject *)vector, i);
}

static PyObject *float64(double value) {
    PyObject *scalar = PyArrayScalar_New(Double);
    if (scalar) PyArrayScalar_ASSIGN(scalar, Double, value);
    return scalar;
}

/* ---- the primitives of task code ------------------------------------------------------------ */

/* Whether the arguments are a vector alone, or a vector and 2, by position or as `ord`. */
static int is_two_norm(PyObject *const *args, Py_ssize_t n, PyObject *names) {
    int overflow;
    if (n == 1 && !names) return 1;
    if (n == 1 && (PyTuple_GET_SIZE(names) != 1 ||
                   PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "ord")))
        return 0;
    if (n < 1 || n > 2 || (n == 2 && names) || !PyLong_CheckExact(args[1])) return 0;
    return PyLong_AsLongAndOverflow(args[1], &overflow) == 2;
}

static PyObject *norm(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) {
    if (!is_two_norm(args, n, names) || !is_vector(args[0], 2, 4))
        return hand_on(NORM, args, n, names);
    double sum = 0.0;
    for (npy_intp i = 0; i < PyArray_DIM((PyArrayObject *)args[0], 0); i++)
        sum += at(args[0], i) * at(args[0], i);
    return float64(sqrt(sum));
}

/* The long-tailed tolerance of x; `known` becomes 0 where Python has to decide. */
static double long_tailed(double x, double lower, double upper, double margin, int *known) {
    if (!(margin > 0.0)) *known = 0;
    if (lower <= x && x <= upper) return 1.0;
    double d = (x < lower ? lower - x : x - upper) / margin;
    if (!(lower <= upper && d < SQUARABLE)) *known = 0;
    return 1.0 / (power(d * long_tail, 2.0) + 1.0);
}

static PyObject *tolerance(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) {
    static const char *const order[] = {"x", "bounds", "margin", "sigmoid", "value_at_margin"};
    PyObject *given[5] = {NULL, NULL, NULL, NULL, NULL};
    double lower, upper;
    if (n < 1 || n > 5) goto python;
    for (Py_ssize_t i = 0; i < n; i++) given[i] = args[i];
    for (Py_ssize_t i = 0; names && i < PyTuple_GET_SIZE(names); i++) {
        int k = 1;
        while (k < 5 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, i), order[k])) k++;
        if (k == 5 || given[k]) goto python;
        given[k] = args[n + i];
    }
    if (!given[1] || !given[2] || !given[3] || !is_float(given[0]) || !is_float(given[2]) ||
        !PyTuple_CheckExact(given[1]) || PyTuple_GET_SIZE(given[1]) != 2 ||
        !as_bound(PyTuple_GET_ITEM(given[1], 0), &lower) ||
        !as_bound(PyTuple_GET_ITEM(given[1], 1), &upper) || !PyUnicode_Check(given[3]) ||
        PyUnicode_CompareWithASCIIString(given[3], "long_tail") ||
        (given[4] && !(is_float(given[4]) && PyFloat_AS_DOUBLE(given[4]) == value_at_margin)))
        goto python;
    int known = python[TOLERANCE] != NULL;
    double x = PyFloat_AS_DOUBLE(given[0]), margin = PyFloat_AS_DOUBLE(given[2]);
    double found = long_tailed(x, lower, upper, margin, &known);
    if (known) return PyFloat_FromDouble(found);
python:
    return hand_on(TOLERANCE, args, n, names);
}

/* `known` becomes 0 where Python returns an int, or has to decide. */
static double product_of(double a, double b, int *known) {
    double product = a * b, denominator = a + b - product, result = product / denominator;
    if (!(0.0 <= a && a <= 1.0 && 0.0 <= b && b <= 1.0 && denominator > 0.0 && 0.0 <= result &&
          result <= 1.0))
        *known = 0;
    return result;
}

static PyObject *hamacher_product(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                  PyObject *names) {
    int known = n == 2 && !names && is_float(args[0]) && is_float(args[1]);
    if (!known) return hand_on(HAMACHER_PRODUCT, args, n, names);
    double found = product_of(PyFloat_AS_DOUBLE(args[0]), PyFloat_AS_DOUBLE(args[1]), &known);
    if (!known) return hand_on(HAMACHER_PRODUCT, args, n, names);
    return is_float64(args[0]) || is_float64(args[1]) ? float64(found) : PyFloat_FromDouble(found);
}

static PyObject *middle(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) {
    if (n != 2 || names || !is_vector(args[0], 3, 3) || !is_vector(args[1], 3, 3))
        return hand_on(MIDDLE, args, n, names);
    npy_intp three = 3;
    PyObject *found = PyArray_SimpleNew(1, &three, NPY_DOUBLE);
    if (!found) return NULL;
    double *to = PyArray_DATA((PyArrayObject *)found);
    for (int i = 0; i < 3; i++) to[i] = (at(args[0], i) + at(args[1], i)) / 2.0;
    return found;
}

static PyObject *matrix_to_quat(PyObject *self, PyObject *const *args, Py_ssize_t n,
                                PyObject *names) {
    PyArrayObject *matrix = n == 1 && !names ? (PyArrayObject *)args[0] : NULL;
    if (!matrix || Py_TYPE(matrix) != &PyArray_Type || PyArray_NDIM(matrix) != 2 ||
        PyArray_DIM(matrix, 0) != 3 || PyArray_DIM(matrix, 1) != 3 ||
        PyArray_TYPE(matrix) != NPY_DOUBLE || !PyArray_ISBEHAVED_RO(matrix))
        return hand_on(MATRIX_TO_QUAT, args, n, names);
    double m[3][3];
    double q[4]; /* x, y, z, w */
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) m[i][j] = *(const double *)PyArray_GETPTR2(matrix, i, j);
    for (int i = 0; i < 3; i++) {
        const double *r = m[i], *s = m[(i + 1) % 3];
        double off = r[0] * r[0] + r[1] * r[1] + r[2] * r[2] - 1.0;
        double cross = r[0] * s[0] + r[1] * s[1] + r[2] * s[2];
        if (!(-9e-6 < off && off < 9e-6 && -9e-13 < cross && cross < 9e-13)) Py_RETURN_NONE;
    }
    double determinant = m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) -
                         m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
                         m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
    if (!(determinant > 0.5)) Py_RETURN_NONE;
    double trace = m[0][0] + m[1][1] + m[2][2];
    double largest = m[0][0] >= m[1][1] ? m[0][0] : m[1][1];
    if (m[2][2] > largest) largest = m[2][2];
    if (trace > largest) {
        q[0] = m[2][1] - m[1][2];
        q[1] = m[0][2] - m[2][0];
        q[2] = m[1][0] - m[0][1];
        q[3] = 1 + trace;
    } else {
        int i = largest == m[0][0] ? 0 : largest == m[1][1] ? 1 : 2;
        int j = (i + 1) % 3, k = (i + 2) % 3;
        q[i] = 1 - trace + 2 * m[i][i];
        q[j] = m[j][i] + m[i][j];
        q[k] = m[k][i] + m[i][k];
        q[3] = m[k][j] - m[j][k];
    }
    double length = sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
    npy_intp four = 4;
    PyObject *found = PyArray_SimpleNew(1, &four, NPY_DOUBLE);
    if (!found) return NULL;
    double *to = PyArray_DATA((PyArrayObject *)found);
    for (int i = 0; i < 4; i++) to[i] = q[i] / length;
    return found;
}

static PyObject *caged(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) {
    static const int vectors[] = {0, 1, 2, 3, 6, 7, 8}, numbers[] = {4, 5, 9};
    double number[3] = {0.0, 0.0, 0.0};
    int known = n == 10 && !names && python[CAGED] != NULL;
    for (int i = 0; known && i < 7; i++) known = is_vector(args[vectors[i]], 3, 3);
    for (int i = 0; known && i < 3; i++) known = as_bound(args[numbers[i]], &number[i]);
    if (!known) return hand_on(CAGED, args, n, names);
    PyObject *object = args[2], *first = args[3], *right = args[6], *left = args[7];
    PyObject *first_tip = args[8];
    double radius = number[0], threshold = number[1], xz_threshold = number[2], side[2];
    for (int i = 0; i < 2; i++) {
        double y = at(args[i], 1), margin = fabs(fabs(y - at(first, 1)) - threshold);
        side[i] = long_tailed(fabs(y - at(object, 1)), radius, threshold, margin, &known);
    }
    double dx = at(first, 0) - at(first_tip, 0), dz = at(first, 2) - at(first_tip, 2);
    double margin = sqrt(dx * dx + dz * dz) - xz_threshold;
    dx = (at(right, 0) + at(left, 0)) / 2.0 - at(object, 0);
    dz = (at(right, 2) + at(left, 2)) / 2.0 - at(object, 2);
    double near = long_tailed(sqrt(dx * dx + dz * dz), 0.0, xz_threshold, margin, &known);
    double found = product_of(product_of(side[0], side[1], &known), near, &known);
    return known ? PyFloat_FromDouble(found) : hand_on(CAGED, args, n, names);
}

/* ---- a step --------------------------------------------------------------------------------- */

enum { FRAME = 18, OBS = 39, MOST_JOINTS = 64 };
static const double TAME = 1e19, QUATERNION[4] = {1.0, 0.0, 1.0, 0.0};

/* All pointers are borrowed; `owners` keeps arrays and functions alive. MuJoCo never moves its
 * memory. */
typedef struct {
    PyObject_HEAD
    PyObject *owners;
    PyObject *scaled, *physics, *positions, *quaternions, *goal, *gap;
    double *mocap_pos, *mocap_quat, *ctrl, *mocap_xpos, *qpos, *qvel, *frame;
    const double *hand, *right, *left;
    const double *limits; /* (12,): of the mocap body, low and high; of the hand, low and high */
    char *warnings;
    npy_intp n_warnings, warning_stride, nq, nv;
    float scale;
    int n_objects;
    int is_noted; /* whether mj_forward has run on the state that is kept here */
    double kept_qpos[MOST_JOINTS], kept_qvel[MOST_JOINTS];
} Advance;

static double clamp(double x, double low, double high) {
    return x < low ? low : x > high ? high : x;
}

/* Action to mocap body and gripper. */
static int steer(Advance *a, PyObject *action) {
    double move[4];
    PyArrayObject *array = (PyArrayObject *)action;
    if (Py_TYPE(action) == &PyArray_Type && PyArray_TYPE(array) == NPY_FLOAT &&
        PyArray_NDIM(array) == 1 && PyArray_DIM(array, 0) == 4 && PyArray_ISBEHAVED_RO(array)) {
        double reach = (double)a->scale;
        for (int i = 0; i < 4; i++) {
            float given = *(const float *)PyArray_GETPTR1(array, i);
            float product = given * a->scale;
            move[i] = i == 3 ? (double)given : clamp((double)product, -reach, reach);
        }
    } else {
        PyObject *found = PyObject_CallOneArg(a->scaled, action);
        if (!found) return -1;
        int read = PyArg_ParseTuple(found, "dddd", &move[0], &move[1], &move[2], &move[3]);
        Py_DECREF(found);
        if (!read) return -1;
    }
    for (int i = 0; i < 3; i++)
        a->mocap_pos[i] = clamp(a->mocap_pos[i] + move[i], a->limits[i], a->limits[3 + i]);
    a->ctrl[0] = move[3];
    a->ctrl[1] = -move[3];
    return 0;
}

static int is_tame(const double *values, npy_intp n) {
    double sum = 0.0;
    for (npy_intp i = 0; i < n; i++) sum += values[i] * values[i];
    return sum < TAME;
}

/* Whether mj_forward has just run on the state as it is: its positions are then valid still. */
static int holds(const Advance *a) {
    return a->is_noted && !memcmp(a->qpos, a->kept_qpos, a->nq * sizeof(double)) &&
           !memcmp(a->qvel, a->kept_qvel, a->nv * sizeof(double)) && is_tame(a->qpos, a->nq) &&
           is_tame(a->qvel, a->nv);
}

static void note(Advance *a) {
    memcpy(a->kept_qpos, a->qpos, a->nq * sizeof(double));
    memcpy(a->kept_qvel, a->qvel, a->nv * sizeof(double));
    a->is_noted = 1;
}

/* Advance the physics; 1 if MuJoCo warned, -1 for an exception. */
static int simulate(Advance *a) {
    int valid = holds(a);
    if (valid)
        memcpy(a->mocap_xpos, a->mocap_pos, 3 * sizeof(double));
    else
        memcpy(a->mocap_quat, QUATERNION, sizeof QUATERNION);
    PyObject *done = PyObject_CallOneArg(a->physics, valid ? Py_True : Py_False);
    if (!done) return -1;
    Py_DECREF(done);
    int fault = 0;
    for (npy_intp i = 0; i < a->n_warnings; i++) {
        int *count = (int *)(a->warnings + i * a->warning_stride);
        fault |= *count != 0;
        *count = 0;
    }
    if (fault)
        a->is_noted = 0; /* MuJoCo has reset the mocap body with the rest */
    else
        note(a);
    return fault;
}

/* Copy `parts` times `each` numbers that `function` returns: the first part to `to`, the second to
 * `second`. */
static int copy_numbers(PyObject *function, npy_intp each, int parts, double *to, double *second) {
    PyObject *found = PyObject_CallNoArgs(function);
    if (!found) return -1;
    PyObject *array = PyArray_ContiguousFromAny(found, NPY_DOUBLE, 1, 1);
    Py_DECREF(found);
    if (!array) return -1;
    const double *from = PyArray_DATA((PyArrayObject *)array);
    npy_intp size = PyArray_SIZE((PyArrayObject *)array);
    int wrong = size != parts * each;
    if (wrong) {
        PyErr_Format(PyExc_ValueError, "%zd numbers of objects, not %zd", size, parts * each);
    } else {
        memcpy(to, from, each * sizeof(double));
        if (parts == 2) memcpy(second, from + each, each * sizeof(double));
    }
    Py_DECREF(array);
    return wrong ? -1 : 0;
}

/* How far the fingers are apart, in tenths of a metre; -1 with an exception. */
static double gap_of(const Advance *a) {
    double sum = 0.0;
    if (a->gap != Py_None) {
        PyObject *found = PyObject_CallNoArgs(a->gap);
        double gap = found ? PyFloat_AsDouble(found) : -1.0;
        Py_XDECREF(found);
        return gap;
    }
    for (int i = 0; i < 3; i++) {
        double apart = a->right[i] - a->left[i];
        sum += apart * apart;
    }
    return sqrt(sum) / 0.1;
}

static PyObject *observe(Advance *a) {
    double *frame = a->frame;
    memcpy(frame + FRAME, frame, FRAME * sizeof(double));
    for (int i = 0; i < 3; i++) frame[i] = clamp(a->hand[i], a->limits[6 + i], a->limits[9 + i]);
    double gap = gap_of(a);
    if (gap < 0.0 && PyErr_Occurred()) return NULL;
    frame[3] = gap > 1.0 ? 1.0 : gap;
    if (copy_numbers(a->positions, 3, a->n_objects, frame + 4, frame + 11) ||
        copy_numbers(a->quaternions, 4, a->n_objects, frame + 7, frame + 14) ||
        (a->goal != Py_None && copy_numbers(a->goal, 3, 1, frame + 2 * FRAME, NULL)))
        return NULL;
    npy_intp size = OBS;
    PyObject *obs = PyArray_SimpleNew(1, &size, NPY_DOUBLE);
    if (obs) memcpy(PyArray_DATA((PyArrayObject *)obs), frame, OBS * sizeof(double));
    return obs;
}

static PyObject *advance_call(PyObject *self, PyObject *args, PyObject *names) {
    Advance *a = (Advance *)self;
    static char *keys[] = {"action", NULL};
    PyObject *action;
    if (!PyArg_ParseTupleAndKeywords(args, names, "O", keys, &action)) return NULL;
    if (!a->owners) {
        PyErr_SetString(PyExc_RuntimeError, "the environment of this step is gone");
        return NULL;
    }
    if (steer(a, action)) return NULL;
    int fault = simulate(a);
    if (fault < 0) return NULL;
    PyObject *obs = observe(a);
    return obs ? Py_BuildValue("(NO)", obs, fault ? Py_True : Py_False) : NULL;
}

static PyObject *advance_forget(PyObject *self, PyObject *unused) {
    ((Advance *)self)->is_noted = 0;
    Py_RETURN_NONE;
}

static PyObject *advance_note(PyObject *self, PyObject *unused) {
    if (((Advance *)self)->owners) note((Advance *)self);
    Py_RETURN_NONE;
}

static double *memory_of(PyObject *array, npy_intp least, npy_intp most) {
    if (is_vector(array, least, most) && PyArray_ISCARRAY((PyArrayObject *)array))
        return PyArray_DATA((PyArrayObject *)array);
    PyErr_Format(PyExc_TypeError, "not writable float64 of %zd to %zd numbers", least, most);
    return NULL;
}

/* Advance(arrays, warnings, scale, functions, objects), where `compiled_advance` in advance.py
 * names all of them; in this order. */
static PyObject *advance_new(PyTypeObject *type, PyObject *args, PyObject *names) {
    enum { MOCAP_POS, MOCAP_QUAT, CTRL, MOCAP_XPOS, QPOS, QVEL, SEEN, HAND, RIGHT, LEFT, LIMITS };
    static const npy_intp least[] = {3, 4, 2, 3, 1, 1, OBS, 3, 3, 3, 12};
    enum { ARRAYS = sizeof least / sizeof *least };
    PyObject *arrays, *functions;
    PyArrayObject *warnings;
    float scale;
    int n_objects;
    double *memory[ARRAYS];
    if (!PyArg_ParseTuple(args, "O!O!fO!i", &PyTuple_Type, &arrays, &PyArray_Type, &warnings,
                          &scale, &PyTuple_Type, &functions, &n_objects))
        return NULL;
    if (PyTuple_GET_SIZE(arrays) != ARRAYS || PyTuple_GET_SIZE(functions) != 6 ||
        PyArray_TYPE(warnings) != NPY_INT || PyArray_NDIM(warnings) != 1 ||
        !PyArray_ISBEHAVED(warnings) || n_objects < 1 || n_objects > 2) {
        PyErr_SetString(PyExc_TypeError,
                        "needs 11 arrays, int32 counts of warnings, 6 functions, 1 or 2 objects");
        return NULL;
    }
    for (int i = 0; i < ARRAYS; i++) {
        npy_intp most = i == QPOS || i == QVEL ? MOST_JOINTS : least[i];
        if (!(memory[i] = memory_of(PyTuple_GET_ITEM(arrays, i), least[i], most))) return NULL;
    }
    Advance *a = (Advance *)type->tp_alloc(type, 0);
    if (!a) return NULL;
    a->owners = PyTuple_Pack(3, arrays, warnings, functions);
    a->scaled = PyTuple_GET_ITEM(functions, 0), a->physics = PyTuple_GET_ITEM(functions, 1);
    a->positions = PyTuple_GET_ITEM(functions, 2), a->quaternions = PyTuple_GET_ITEM(functions, 3);
    a->goal = PyTuple_GET_ITEM(functions, 4), a->gap = PyTuple_GET_ITEM(functions, 5);
    a->mocap_pos = memory[MOCAP_POS], a->mocap_quat = memory[MOCAP_QUAT], a->ctrl = memory[CTRL];
    a->mocap_xpos = memory[MOCAP_XPOS], a->qpos = memory[QPOS], a->qvel = memory[QVEL];
    a->frame = memory[SEEN], a->hand = memory[HAND], a->right = memory[RIGHT];
    a->left = memory[LEFT], a->limits = memory[LIMITS];
    a->nq = PyArray_DIM((PyArrayObject *)PyTuple_GET_ITEM(arrays, QPOS), 0);
    a->nv = PyArray_DIM((PyArrayObject *)PyTuple_GET_ITEM(arrays, QVEL), 0);
    a->warnings = PyArray_DATA(warnings);
    a->n_warnings = PyArray_DIM(warnings, 0), a->warning_stride = PyArray_STRIDE(warnings, 0);
    a->scale = scale, a->n_objects = n_objects;
    if (!a->owners) Py_CLEAR(a);
    return (PyObject *)a;
}

static int advance_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(((Advance *)self)->owners);
    return 0;
}

static int advance_clear(PyObject *self) {
    Py_CLEAR(((Advance *)self)->owners);
    return 0;
}

static void advance_dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    advance_clear(self);
    Py_TYPE(self)->tp_free(self);
}

static PyMethodDef advance_methods[] = {
    {"forget", advance_forget, METH_NOARGS, "The state or the model was edited."},
    {"note", advance_note, METH_NOARGS, "mj_forward has just run on the state as it is."},
    {NULL}};

static PyTypeObject AdvanceType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "envs.metaworld._compiled.Advance",
    .tp_basicsize = sizeof(Advance),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "One step of an environment: see envs.metaworld.advance.",
    .tp_new = advance_new,
    .tp_call = advance_call,
    .tp_methods = advance_methods,
    .tp_traverse = advance_traverse,
    .tp_clear = advance_clear,
    .tp_dealloc = advance_dealloc};

/* ---- the module ----------------------------------------------------------------------------- */

static PyObject *install(PyObject *self, PyObject *args, PyObject *names) {
    static char *keys[] = {"value_at_margin",  "long_tail",      "norm",   "tolerance",
                           "hamacher_product", "matrix_to_quat", "middle", "caged", NULL};
    PyObject *given[N_PYTHON];
    double margin, tail;
    if (!PyArg_ParseTupleAndKeywords(args, names, "ddOOOOOO", keys, &margin, &tail, &given[0],
                                     &given[1], &given[2], &given[3], &given[4], &given[5]))
        return NULL;
    value_at_margin = margin, long_tail = tail;
    for (int i = 0; i < N_PYTHON; i++) Py_XSETREF(python[i], Py_NewRef(given[i]));
    Py_RETURN_NONE;
}

#define FAST(function)                                                                         \
    {#function, (PyCFunction)(void (*)(void))function, METH_FASTCALL | METH_KEYWORDS, NULL}
static PyMethodDef functions[] = {
    {"install", (PyCFunction)(void (*)(void))install, METH_VARARGS | METH_KEYWORDS,
     "Give the constants and the functions that take all other cases; before anything else."},
    FAST(norm),
    FAST(tolerance),
    FAST(hamacher_product),
    FAST(matrix_to_quat),
    FAST(middle),
    FAST(caged),
    {NULL}};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, "envs.metaworld._compiled", NULL, -1, functions};

PyMODINIT_FUNC PyInit__compiled(void) {
    import_array();
    PyObject *made = PyModule_Create(&module);
    if (made && (PyModule_AddType(made, &AdvanceType) ||
                 PyModule_AddStringConstant(made, "SOURCE", SOURCE)))
        Py_CLEAR(made);
    return made;
}
