package org.mlpipeline

/** GPUs that the plugin lockable-resources lends to one body: which they are, and the machine they are in. */
class Lease implements Serializable {

    private static final long serialVersionUID = 1L

    final Object steps
    final int count

    Lease(Object steps, int count) {
        this.steps = steps
        this.count = count
    }

    /** The lock comes before the node, so that no executor is held while devices are waited for. */
    void during(String label, Closure body) {
        try {
            steps.lock(label: label, quantity: count, variable: 'MLPIPELINE_GPU') { body() }
        } catch (NoSuchMethodError absent) {
            if (!Words.missing(absent, 'lock')) {
                throw absent
            }
            steps.error('mlGpu needs the plugin lockable-resources: without it two builds would share a device')
        } catch (IllegalArgumentException unknown) {
            if (!String.valueOf(unknown.message).contains('resource label does not exist')) {
                throw unknown
            }
            steps.error("mlGpu: no lockable resource has the label '${label}'; add one per GPU (see resources/mlpipeline/jcasc.yaml)")
        }
    }

    /** On the agent that has the leased devices; inside a node already, the body stays where it is. */
    Map onMachine(String agent, Closure body) {
        String home = machine()
        Map usage = [:]
        if (steps.env.WORKSPACE) {
            String here = steps.env.NODE_NAME
            if (home && home != here) {
                steps.error("mlGpu: the leased devices are on ${home}, but this build already holds ${here}; let mlGpu take the node")
            }
            usage = body()
        } else {
            Machine.taken(steps, home ?: agent) { usage = body() }
        }
        return usage
    }

    /** Numbers or UUIDs, as CUDA_VISIBLE_DEVICES takes them. */
    String devices() {
        List devices = []
        for (int index = 0; index < count; index++) {
            devices << device(index)
        }
        return devices.join(',')
    }

    String machine() {
        List nodes = []
        for (int index = 0; index < count; index++) {
            nodes << told(index, 'NODE')
        }
        if (nodes.any { it != nodes[0] }) {
            steps.error("mlGpu: the leased devices are on several machines (${nodes.join(', ')}); give each machine a label of its own")
        }
        return nodes[0]
    }

    /** Its property DEVICE or CUDA_VISIBLE_DEVICES. */
    String device(int index) {
        String found = told(index, 'DEVICE') ?: told(index, 'CUDA_VISIBLE_DEVICES')
        if (!found || !(found ==~ /[A-Za-z0-9-]+/)) {
            String name = steps.env."MLPIPELINE_GPU${index}"
            steps.error("mlGpu: the lockable resource '${name}' needs a property DEVICE: the number or UUID of its GPU, not '${found}'")
        }
        return found
    }

    String told(int index, String property) {
        return steps.env."MLPIPELINE_GPU${index}_${property}" ?: ''
    }
}
